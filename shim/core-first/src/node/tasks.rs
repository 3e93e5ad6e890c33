//! Scripts under way, and what becomes of each when it is done.

use std::sync::Arc;

use crate::ids::{AttemptId, RequestHash, TxnId};
use crate::message::{Begin, Refusal, Ticket};
use crate::record::{CollectName, Intent};
use crate::store::Answer;

use super::Node;
use super::calls::Owner;
use super::script::{Pending, Run, Script};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct TaskId(pub(super) u64);

/// What a script is for.
#[derive(Debug, Clone, Hash)]
pub(super) enum Purpose {
    /// Look the request and the session up, then open a transaction.
    Begin(Ticket, Box<Begin>),
    /// Make an attempt's intent durable before its first large value.
    Reserve(Ticket, AttemptId),
    /// The commit of an attempt.
    Commit(AttemptId),
    /// Ask again after an unknown outcome.
    Resolve(Ticket, RequestHash, AttemptId),
    /// Did this request commit?
    LookUp(Ticket, RequestHash),
    /// Enter the versions of a commit of this node.
    Publish(TxnId),
    /// The maintainer's first look at intents.
    Enter(Arc<[Intent]>),
    /// The maintainer's second look, once the horizon has passed.
    Retire(Arc<[Intent]>),
    /// The maintainer's work on a collect entry.
    Collect(CollectName),
}

#[derive(Debug, Clone, Hash)]
pub(super) struct Task {
    pub(super) purpose: Purpose,
    script: Script,
    /// Its calls are not repeated after this instant; `None`: for as long as it lives.
    until_mono: Option<u64>,
}

impl Task {
    /// The waiter whose only trace is this task, and what it is told if the node drops the task.
    pub(super) fn dropped_waiter(&self) -> Option<(Ticket, Refusal)> {
        match &self.purpose {
            Purpose::Begin(ticket, _) | Purpose::Reserve(ticket, _) | Purpose::LookUp(ticket, _) => {
                Some((*ticket, Refusal::NotServing))
            }
            Purpose::Resolve(ticket, hash, _) => Some((*ticket, Refusal::Unknown(*hash))),
            Purpose::Commit(_)
            | Purpose::Publish(_)
            | Purpose::Enter(_)
            | Purpose::Retire(_)
            | Purpose::Collect(_) => None,
        }
    }
}

impl Node {
    /// Starts a script and runs it as far as it goes.
    pub(super) fn start_task(&mut self, purpose: Purpose, until_mono: Option<u64>) -> TaskId {
        let id = TaskId(self.task_ids);
        self.task_ids += 1;
        let task = Task { purpose, script: Script::default(), until_mono };
        self.run_task(id, task);
        id
    }

    pub(super) fn task_answered(&mut self, id: TaskId, at: usize, answer: Answer) {
        let Some(mut task) = self.tasks.remove(&id) else { return };
        if task.script.answer(at, answer) {
            self.run_task(id, task);
        } else {
            self.tasks.insert(id, task);
        }
    }

    fn run_task(&mut self, id: TaskId, mut task: Task) {
        let mut run = Run::new(&mut task.script);
        let done = match &task.purpose {
            Purpose::Begin(ticket, begin) => self.begin_script(&mut run, *ticket, begin),
            Purpose::Reserve(ticket, attempt) => self.reserve_script(&mut run, *ticket, *attempt),
            Purpose::Commit(attempt) => self.commit_script(&mut run, *attempt),
            Purpose::Resolve(ticket, _, attempt) => self.resolve_script(&mut run, *ticket, *attempt),
            Purpose::LookUp(ticket, hash) => self.look_up_script(&mut run, *ticket, *hash),
            Purpose::Publish(txn) => self.publish_script(&mut run, *txn),
            Purpose::Enter(intents) => self.enter_script(&mut run, intents),
            Purpose::Retire(intents) => self.retire_script(&mut run, intents),
            Purpose::Collect(name) => self.collect_script(&mut run, *name),
        };
        let issued = std::mem::take(&mut run.issued);
        match done {
            Err(Pending) => {
                let until = task.until_mono;
                self.tasks.insert(id, task);
                for (at, call) in issued {
                    self.call(Owner::Task(id, at), call, until);
                }
            }
            // A script that ends early leaves calls without a reader; they were asked all the same, and are safe to drop unanswered.
            Ok(()) => {
                for (at, call) in issued {
                    self.call(Owner::Task(id, at), call, Some(self.now.mono_ms));
                }
            }
        }
    }

    /// Stops a transaction's scripts; answers to their calls are dropped.
    pub(super) fn stop_tasks_of(&mut self, attempt: AttemptId) -> Vec<Ticket> {
        let mut tickets = Vec::new();
        self.tasks.retain(|_, task| match &task.purpose {
            Purpose::Reserve(ticket, of) => {
                if *of == attempt {
                    tickets.push(*ticket);
                }
                *of != attempt
            }
            Purpose::Commit(of) => *of != attempt,
            Purpose::Begin(..)
            | Purpose::Resolve(..)
            | Purpose::LookUp(..)
            | Purpose::Publish(_)
            | Purpose::Enter(_)
            | Purpose::Retire(_)
            | Purpose::Collect(_) => true,
        });
        tickets
    }
}
