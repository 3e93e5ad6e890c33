//! Flows of several store calls, written as straight code that is run again from its start at every answer.
//!
//! A script's function asks for calls in a fixed order; answers that have come are handed back at once, the first one that is missing
//! ends the run with [`Pending`]. So the control flow may depend on nothing but the task's own data, the answers, and values
//! noted in the script. Between the first ask and the last answer a script changes nothing in the node but what may be changed twice.
//!
//! The flows are short (tens of calls), so running them again costs less than a hand-written state machine's bugs.

use std::sync::Arc;

use crate::ids::TxnId;
use crate::message::Header;
use crate::store::{Answer, Call, CallError};

/// An answer is missing: run again when it has come.
#[derive(Debug)]
pub(super) struct Pending;

/// What a script has asked, been answered, and noted, in order.
#[derive(Debug, Clone, Default, Hash)]
pub(super) struct Script {
    memo: Vec<Memo>,
}

#[derive(Debug, Clone, Hash)]
enum Memo {
    Asked,
    Answered(Answer),
    Noted(u64),
    NotedTxn(Option<TxnId>),
    NotedHeader(Option<Arc<Header>>),
}

impl Script {
    /// Takes the answer to the call at `at`.
    pub(super) fn answer(&mut self, at: usize, answer: Answer) {
        let memo = self.memo.get_mut(at).expect("a script is answered what it asked");
        assert!(matches!(memo, Memo::Asked), "a call is answered once");
        *memo = Memo::Answered(answer);
    }
}

/// One run of a script from its start.
#[derive(Debug)]
pub(super) struct Run<'a> {
    script: &'a mut Script,
    at: usize,
    /// Calls asked for the first time in this run, with their places.
    pub(super) issued: Vec<(usize, Call)>,
}

impl<'a> Run<'a> {
    pub(super) fn new(script: &'a mut Script) -> Run<'a> {
        Run { script, at: 0, issued: Vec::new() }
    }

    /// Starts a call without waiting for it; the result is its place, for [`Run::wait`].
    pub(super) fn start(&mut self, call: impl FnOnce() -> Call) -> usize {
        let at = self.at;
        self.at += 1;
        if at == self.script.memo.len() {
            self.script.memo.push(Memo::Asked);
            self.issued.push((at, call()));
        }
        at
    }

    /// The answer to a started call.
    pub(super) fn wait(&self, at: usize) -> Result<Answer, Pending> {
        match &self.script.memo[at] {
            Memo::Asked => Err(Pending),
            Memo::Answered(answer) => Ok(answer.clone()),
            Memo::Noted(_) | Memo::NotedTxn(_) | Memo::NotedHeader(_) => {
                unreachable!("a place of a call is not a note's")
            }
        }
    }

    /// Asks one call and waits for its answer.
    pub(super) fn ask(&mut self, call: impl FnOnce() -> Call) -> Result<Answer, Pending> {
        let at = self.start(call);
        self.wait(at)
    }

    /// Asks calls at once and waits for all answers.
    pub(super) fn ask_all(&mut self, calls: impl IntoIterator<Item = Call>) -> Result<Vec<Answer>, Pending> {
        let places: Vec<usize> = calls.into_iter().map(|call| self.start(|| call)).collect();
        places.into_iter().map(|at| self.wait(at)).collect()
    }

    /// A value that must be the same in every run of the script.
    pub(super) fn note(&mut self, value: impl FnOnce() -> u64) -> u64 {
        let at = self.at;
        self.at += 1;
        if at == self.script.memo.len() {
            self.script.memo.push(Memo::Noted(value()));
        }
        match &self.script.memo[at] {
            Memo::Noted(value) => *value,
            other => unreachable!("the place of a number holds {other:?}"),
        }
    }

    /// A yes or no that must be the same in every run of the script.
    pub(super) fn note_if(&mut self, value: impl FnOnce() -> bool) -> bool {
        self.note(|| u64::from(value())) == 1
    }

    /// A transaction that must be the same in every run of the script.
    pub(super) fn note_txn(&mut self, value: impl FnOnce() -> Option<TxnId>) -> Option<TxnId> {
        let at = self.at;
        self.at += 1;
        if at == self.script.memo.len() {
            self.script.memo.push(Memo::NotedTxn(value()));
        }
        match &self.script.memo[at] {
            Memo::NotedTxn(value) => *value,
            other => unreachable!("the place of a transaction holds {other:?}"),
        }
    }

    /// A header that the script goes on with even if the index forgets it meanwhile.
    pub(super) fn note_header(&mut self, value: impl FnOnce() -> Option<Arc<Header>>) -> Option<Arc<Header>> {
        let at = self.at;
        self.at += 1;
        if at == self.script.memo.len() {
            self.script.memo.push(Memo::NotedHeader(value()));
        }
        match &self.script.memo[at] {
            Memo::NotedHeader(value) => value.clone(),
            other => unreachable!("the place of a header holds {other:?}"),
        }
    }
}

/// The first failure among answers.
pub(super) fn failure(answers: &[Answer]) -> Option<CallError> {
    answers.iter().find_map(|answer| match answer {
        Answer::Failed(error) => Some(error.clone()),
        Answer::Got(_)
        | Answer::Cached(_)
        | Answer::Done
        | Answer::Created
        | Answer::Exists
        | Answer::Replaced
        | Answer::Changed
        | Answer::Listed { .. }
        | Answer::Keys { .. }
        | Answer::Minutes { .. } => None,
    })
}
