//! A process that runs a state machine: it lives or not, may be paused, and has the clocks of its
//! host.

use crate::clocks::{HostClocks, Pause};

/// A process and its host's clocks. `M` is the state machine that it runs while it lives.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Process<M> {
    machine: Option<M>,
    /// The clocks of its host, which go on when the process ends.
    pub clocks: HostClocks,
    /// The kind of its present pause, and the true time at which that began.
    paused: Option<(Pause, u64)>,
}

impl<M> Process<M> {
    /// Returns a process that does not live yet, on a host with these clocks.
    pub fn new(clocks: HostClocks) -> Process<M> {
        Process { machine: None, clocks, paused: None }
    }

    /// Starts it with a new state machine.
    pub fn start(&mut self, machine: M) {
        assert!(self.machine.is_none(), "a process runs one state machine at a time");
        assert!(self.paused.is_none(), "only a process that lives is paused");
        self.machine = Some(machine);
    }

    /// Ends it, and a pause of it, and returns its state machine if it lived.
    pub fn end(&mut self) -> Option<M> {
        self.paused = None;
        self.machine.take()
    }

    /// Returns its state machine, while it lives.
    pub fn machine(&self) -> Option<&M> {
        self.machine.as_ref()
    }

    /// Returns its state machine for a step. It must not be paused.
    pub fn machine_mut(&mut self) -> Option<&mut M> {
        assert!(self.paused.is_none(), "a paused process cannot be given an event");
        self.machine.as_mut()
    }

    /// Pauses it at `now_ms`. Its calls in flight may still land.
    pub fn pause(&mut self, kind: Pause, now_ms: u64) {
        assert!(self.machine.is_some(), "only a process that lives can be paused");
        assert!(self.paused.is_none(), "it is paused already");
        self.paused = Some((kind, now_ms));
    }

    /// Resumes it at `now_ms` if it is paused, and applies the pause to its clocks. Returns the
    /// kind of the pause, and its length in milliseconds.
    pub fn resume(&mut self, now_ms: u64) -> Option<(Pause, u64)> {
        let (kind, since_ms) = self.paused.take()?;
        let span_ms = now_ms - since_ms;
        self.clocks.paused(kind, span_ms);
        Some((kind, span_ms))
    }

    /// Returns the kind of its present pause.
    pub fn paused(&self) -> Option<Pause> {
        self.paused.map(|(kind, _)| kind)
    }

    /// Returns true if it lives and is not paused, so that it can be given an event.
    pub fn is_awake(&self) -> bool {
        self.machine.is_some() && self.paused.is_none()
    }

    /// Returns the first true time at which it can do what it planned for `mono_ms` of its
    /// monotonic clock; `None` while it is paused.
    pub fn wake_ms(&self, mono_ms: u64) -> Option<u64> {
        self.paused.is_none().then(|| self.clocks.true_ms(mono_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::Process;
    use crate::clocks::{HostClocks, Pause};

    #[test]
    fn a_pause_delays_wakes_and_shows_on_the_clocks() {
        let mut process = Process::new(HostClocks::new(0));
        assert!(!process.is_awake());
        process.start("machine");
        assert_eq!(process.wake_ms(500), Some(500));
        process.pause(Pause::Suspended, 100);
        assert_eq!((process.is_awake(), process.wake_ms(500)), (false, None));
        assert_eq!(process.resume(1_100), Some((Pause::Suspended, 1_000)));
        assert_eq!(process.wake_ms(500), Some(1_500));
        process.pause(Pause::Process, 1_200);
        assert_eq!(process.end(), Some("machine"));
        assert_eq!((process.paused(), process.resume(1_300)), (None, None));
    }
}
