//! Flows of several store calls, written as straight code that is run again from its start at every answer.
//!
//! A script's function asks for calls in a fixed order; answers that have come are handed back at once, the first one that is missing
//! ends the run with [`Pending`]. So the control flow may depend on nothing but the task's own data, the answers, and values
//! noted in the script. Between the first ask and the last answer a script changes nothing in the node but what may be changed twice.
//!
//! A script is run again only when every answer that it waits for has come, so a flow of a hundred calls in five rounds is run five times:
//! that costs less than a hand-written state machine's bugs.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::ids::TxnId;
use crate::message::Header;
use crate::store::{Answer, Body, Call, CallError, Group, Name, Tag};

/// An answer is missing: run again when it has come.
#[derive(Debug)]
pub(super) struct Pending;

/// What a script has asked, been answered, and noted, in order.
#[derive(Debug, Clone, Default, Hash)]
pub(super) struct Script {
    memo: Vec<Memo>,
    /// The places whose answers the script waits for.
    awaited: BTreeSet<usize>,
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
    /// Takes the answer to the call at `at`; whether it was the last one that the script waits for.
    pub(super) fn answer(&mut self, at: usize, answer: Answer) -> bool {
        let memo = self.memo.get_mut(at).expect("a script is answered what it asked");
        assert!(matches!(memo, Memo::Asked), "a call is answered once");
        *memo = Memo::Answered(answer);
        self.awaited.remove(&at);
        self.awaited.is_empty()
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
    pub(super) fn wait(&mut self, at: usize) -> Result<Answer, Pending> {
        match &self.script.memo[at] {
            Memo::Asked => {
                self.script.awaited.insert(at);
                Err(Pending)
            }
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
        let answers: Vec<_> = places.into_iter().map(|at| self.wait(at)).collect();
        answers.into_iter().collect()
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

/// Why a flow does not go on.
#[derive(Debug)]
pub(super) enum Stop {
    /// An answer is missing.
    Pending,
    /// The store did not do what was asked.
    Failed(CallError),
}

impl From<Pending> for Stop {
    fn from(Pending: Pending) -> Stop {
        Stop::Pending
    }
}

/// The result of a flow that gives up at the first failure of the store.
pub(super) type Flow<T> = Result<T, Stop>;

/// An object as a `Get` found it.
pub(super) type Object = Option<(Body, Tag)>;

impl Run<'_> {
    /// Puts and deletes, at once.
    pub(super) fn ask_done(&mut self, calls: impl IntoIterator<Item = Call>) -> Flow<()> {
        for answer in self.ask_all(calls)? {
            match answer {
                Answer::Done => {}
                answer => return Err(failed(answer)),
            }
        }
        Ok(())
    }

    /// The end of started puts and deletes.
    pub(super) fn wait_done(&mut self, places: &[usize]) -> Flow<()> {
        let answers: Vec<_> = places.iter().map(|at| self.wait(*at)).collect();
        for answer in answers {
            match answer? {
                Answer::Done => {}
                answer => return Err(failed(answer)),
            }
        }
        Ok(())
    }

    /// Objects, at once.
    pub(super) fn ask_objects(&mut self, names: impl IntoIterator<Item = Name>) -> Flow<Vec<Object>> {
        let answers = self.ask_all(names.into_iter().map(Call::Get))?;
        let object = |answer| match answer {
            Answer::Got(object) => Ok(object),
            answer => Err(failed(answer)),
        };
        answers.into_iter().map(object).collect()
    }

    /// Pages of listings, at once: the names of each, and whether more may follow.
    pub(super) fn ask_pages(
        &mut self,
        pages: impl IntoIterator<Item = (Group, Option<Name>, u32)>,
    ) -> Flow<Vec<(Vec<Name>, bool)>> {
        let list = |(group, after, limit)| Call::List { group, after, limit };
        let answers = self.ask_all(pages.into_iter().map(list))?;
        let page = |answer| match answer {
            Answer::Listed { names, more } => Ok((names, more)),
            answer => Err(failed(answer)),
        };
        answers.into_iter().map(page).collect()
    }
}

/// What a flow makes of an answer that is no success.
pub(super) fn failed(answer: Answer) -> Stop {
    Stop::Failed(match answer {
        Answer::Failed(error) => error,
        other => CallError::Damaged(format!("the store gave an answer that does not fit: {other:?}")),
    })
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
