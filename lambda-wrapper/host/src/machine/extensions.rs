//! Calls of extensions, and the events that they get.

use std::sync::Arc;
use std::time::Instant;

use super::invocation::{Exit, Failure, Invocation};
use super::{Audience, Machine, Reason, Rejected, Stage};
use crate::config::EXTENSIONS_MAX;

/// A kind of event that an extension may register for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    Invoke,
    Shutdown,
}

/// An event for an extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ExtensionEvent {
    Invoke(Arc<Invocation>),
    Shutdown { reason: Reason, deadline_ms: u64 },
}

/// An extension of an environment.
#[derive(Debug)]
pub(super) struct Extension {
    name: String,
    /// It has a process of its own, which the host has started.
    is_external: bool,
    /// Its identifier and the events that it wants, once it has registered.
    registered: Option<(String, Vec<Event>)>,
    /// It has asked for its next event.
    is_waiting: bool,
    /// An event that it has not fetched yet.
    pending: Option<ExtensionEvent>,
    has_ended: bool,
}

impl Extension {
    /// Returns an extension whose process is about to be started.
    pub(super) fn external(name: String) -> Self {
        assert!(!name.is_empty(), "an extension has a name");
        Self { name, is_external: true, registered: None, is_waiting: false, pending: None, has_ended: false }
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    fn wants(&self, event: Event) -> bool {
        self.registered.as_ref().is_some_and(|(_, wanted)| wanted.contains(&event))
    }

    pub(super) fn hand_invoke(&mut self, invocation: &Arc<Invocation>) {
        assert!(self.is_waiting, "every extension of an idle environment waits");
        if self.wants(Event::Invoke) {
            self.hand(ExtensionEvent::Invoke(Arc::clone(invocation)));
        }
    }

    fn hand(&mut self, event: ExtensionEvent) {
        self.is_waiting = false;
        self.pending = Some(event);
    }
}

impl Machine {
    /// Registers an extension under the identifier `id`. One whose name is not that of an external
    /// extension runs in the runtime's process: an internal one.
    pub(crate) fn register(&mut self, name: &str, events: &[Event], id: &str) -> Result<(), Rejected> {
        assert!(!id.is_empty(), "the host makes identifiers");
        if name.is_empty() {
            return Err(Rejected::extension("Extension.InvalidExtensionName", "Empty extension name"));
        }
        let is_open = self.stage == Stage::Init && !self.runtime.is_waiting();
        if !is_open {
            let message = "Extension registration closed already: register before the runtime is ready";
            return Err(Rejected::extension("Extension.RegistrationClosed", message));
        }
        if self.managed.is_some() && events.contains(&Event::Invoke) {
            let message = "InvokeEventNotSupportedOnManagedInstances: register for SHUTDOWN alone";
            return Err(Rejected::extension("Extension.InvalidEventType", message));
        }
        let registered = Some((id.to_owned(), events.to_vec()));
        if let Some(extension) = self.extensions.iter_mut().find(|extension| extension.name == name) {
            if extension.registered.is_some() {
                let message = format!("Extension {name} is already registered");
                return Err(Rejected::extension("Extension.InvalidExtensionState", message));
            }
            extension.registered = registered;
            return Ok(());
        }
        if events.contains(&Event::Shutdown) {
            let message = "ShutdownEventNotSupportedForInternalExtension";
            return Err(Rejected::extension("Extension.InvalidEventType", message));
        }
        if self.extensions.len() >= EXTENSIONS_MAX {
            let message = format!("Extension limit ({EXTENSIONS_MAX}) reached");
            return Err(Rejected::extension("Extension.TooManyExtensions", message));
        }
        let internal = Extension { is_external: false, registered, ..Extension::external(name.to_owned()) };
        self.extensions.push(internal);
        assert!(self.extensions.len() <= EXTENSIONS_MAX, "few extensions");
        Ok(())
    }

    /// Returns true if every external extension has registered, so that the runtime may start.
    pub(crate) fn extensions_registered(&self) -> bool {
        self.extensions.iter().filter(|one| one.is_external).all(|one| one.registered.is_some())
    }

    /// Takes an extension's call for its next event. [`Machine::take_event`] has it then, at once
    /// or later.
    pub(crate) fn extension_next(&mut self, id: &str, now: Instant) -> Result<(), Rejected> {
        let extension = self.extension(id)?;
        // A call while an event is pending follows a lost connection: it fetches the event.
        if extension.pending.is_none() {
            extension.is_waiting = true;
            self.settle(now);
        }
        Ok(())
    }

    /// Takes the event that an extension waits for, if there is one.
    pub(crate) fn take_event(&mut self, id: &str) -> Option<ExtensionEvent> {
        let taken = self.extension(id).ok()?.pending.take();
        assert!(
            taken.is_none() || self.extension(id).is_ok_and(|one| !one.is_waiting),
            "an extension with an event does not wait"
        );
        taken
    }

    /// Takes an extension's report of an error, in its start or later.
    pub(crate) fn extension_error(&mut self, id: &str, error_type: String) -> Result<(), Rejected> {
        let name = self.extension(id)?.name.clone();
        self.fail(Failure::ExtensionReported { name, error_type });
        Ok(())
    }

    /// Records that the process of an external extension has ended.
    pub(crate) fn extension_ended(&mut self, name: &str, exit: Exit) {
        let extension = self.extensions.iter_mut().find(|one| one.is_external && one.name == name);
        let extension = extension.expect("the host has started it");
        assert!(!extension.has_ended, "a process ends once");
        extension.has_ended = true;
        self.fail(Failure::ExtensionCrashed { name: name.to_owned(), exit });
    }

    /// Hands SHUTDOWN to every external extension that wants it.
    pub(crate) fn send_shutdown(&mut self, reason: Reason, deadline_ms: u64) {
        assert_eq!(self.stage, Stage::Ending, "SHUTDOWN is sent at the end");
        for extension in &mut self.extensions {
            if extension.is_external && extension.wants(Event::Shutdown) {
                extension.hand(ExtensionEvent::Shutdown { reason, deadline_ms });
            }
        }
    }

    /// Returns true if no process is left that SHUTDOWN was sent to.
    pub(crate) fn shutdown_is_done(&self) -> bool {
        let hears = |one: &Extension| one.is_external && one.wants(Event::Shutdown);
        self.extensions.iter().filter(|one| hears(one)).all(|one| one.has_ended)
    }

    /// Returns the processes that an end must give time to.
    pub(crate) fn audience(&self) -> Audience {
        let is = |external| move |one: &Extension| one.registered.is_some() && one.is_external == external;
        if self.extensions.iter().any(is(true)) {
            Audience::ExternalExtensions
        } else if self.extensions.iter().any(is(false)) {
            Audience::InternalExtensions
        } else {
            Audience::RuntimeOnly
        }
    }

    fn extension(&mut self, id: &str) -> Result<&mut Extension, Rejected> {
        let has = |one: &&mut Extension| one.registered.as_ref().is_some_and(|(own, _)| own == id);
        self.extensions.iter_mut().find(has).ok_or_else(|| {
            Rejected::extension("Extension.UnknownExtensionIdentifier", format!("Unknown extension {id}"))
        })
    }
}
