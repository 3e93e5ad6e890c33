//! A node, its clock, and a store that a story plays by hand.

use std::collections::VecDeque;

use aft_core_first::Node;
use aft_core_first::ids::{AttemptId, NodeId, RequestHash};
use aft_core_first::message::{Batch, Begin, Input, Now, Output, Refusal, Reply, Ticket, Verb, Visibility};
use aft_core_first::settings::Settings;
use aft_core_first::store::{Answer, Call};

/// The wall clock at the start.
pub(crate) const WALL_MS: u64 = 1_700_000_000_000;

/// What a story's store answers, at once.
pub(crate) trait Store {
    fn answer(&mut self, call: Call) -> Answer;
}

/// A node over such a store.
pub(crate) struct World<S> {
    pub(crate) node: Node,
    pub(crate) store: S,
    /// Since the start; both clocks.
    pub(crate) at_ms: u64,
    /// Replies that nobody has taken.
    pub(crate) replies: Vec<Result<Reply, Refusal>>,
    tickets: u64,
}

impl<S: Store> World<S> {
    pub(crate) fn new(settings: Settings, store: S) -> World<S> {
        World { node: Node::new(NodeId(1), settings), store, at_ms: 1_000, replies: Vec::new(), tickets: 0 }
    }

    /// Steps the node, and answers every call.
    pub(crate) fn step(&mut self, input: Input) {
        let now = Now { wall_ms: WALL_MS + self.at_ms, mono_ms: self.at_ms };
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut outputs = Vec::new();
            self.node.step(now, input, &mut outputs);
            self.node.check_invariants();
            for output in outputs {
                match output {
                    Output::Call(id, call) => inputs.push_back(Input::Answer(id, self.store.answer(call))),
                    Output::Reply(_, reply) => self.replies.push(reply),
                    Output::Tell(_) | Output::Note(_) => {}
                }
            }
        }
    }

    /// Lets time pass, waking the node whenever it wants to be woken.
    pub(crate) fn pass(&mut self, ms: u64) {
        let until = self.at_ms + ms;
        while let Some(wake) = self.node.next_wake().filter(|wake| *wake <= until) {
            self.at_ms = self.at_ms.max(wake);
            self.step(Input::Wake);
        }
        self.at_ms = until;
    }

    pub(crate) fn send(&mut self, verb: Verb) {
        self.tickets += 1;
        self.step(Input::Verb(Ticket(self.tickets), verb));
    }

    /// Carries out a verb that is replied to at once.
    pub(crate) fn ask(&mut self, verb: Verb) -> Result<Reply, Refusal> {
        self.send(verb);
        self.replies.pop().expect("it is replied to at once")
    }

    /// Opens a transaction.
    pub(crate) fn begin(&mut self, begin: Begin) {
        let begun = self.ask(Verb::Begin(Box::new(begin)));
        assert!(matches!(begun, Ok(Reply::Begun { .. })), "{begun:?}");
    }
}

/// The opening of an unnamed request, the `n`-th.
pub(crate) fn opening(n: u8, batch: Batch) -> Begin {
    Begin {
        attempt: AttemptId([n; 16]),
        hash: RequestHash([n; 32]),
        named: false,
        fingerprint: None,
        timeout_ms: None,
        wait_ms: 0,
        overlap: false,
        session: Vec::new(),
        retention_ms: None,
        visibility: Visibility::Relaxed,
        batch,
    }
}
