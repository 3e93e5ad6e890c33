//! Look-ups: a request's record is read, and reported once its entries are in place (protocol,
//! sections 4 and 6).

use std::sync::Arc;

use crate::ids::RequestHash;
use crate::message::{Refusal, Reply, Ticket};
use crate::record::Record;
use crate::store::{Answer, Body, Call, Name};

use super::super::base::script::{Pending, Run};
use super::super::base::state::{State, refusal_of};
use super::report;

/// The ending of a look-up.
#[derive(Debug, PartialEq)]
pub(in crate::node) enum Found {
    Record(Arc<Record>),
    Refuse(Refusal),
}

/// Looks a request's record up, and makes sure that its entries are in place before it is reported.
pub(in crate::node) fn script(
    run: &mut Run<'_>,
    state: &State,
    (name, hash): (&Name, RequestHash),
) -> Result<Found, Pending> {
    Ok(match run.ask(|| Call::Get(name.clone()))? {
        // The name of a whole entry that follows a version may be taken by another request.
        Answer::Got(Some((Body::Record(record), _))) if record.hash != hash => {
            Found::Refuse(Refusal::NotFound)
        }
        Answer::Got(Some((Body::Entry(_) | Body::Free, _))) => Found::Refuse(Refusal::NotFound),
        Answer::Got(None | Some((Body::Aborted(_), _))) => Found::Refuse(Refusal::NotFound),
        Answer::Got(Some((Body::Record(record), _))) => match report::may_report(run, state, &record)? {
            Ok(()) => Found::Record(record),
            Err(error) => Found::Refuse(refusal_of(&Answer::Failed(error))),
        },
        Answer::Got(Some((Body::Stub(_), _))) => Found::Refuse(Refusal::ResultGone),
        answer => Found::Refuse(refusal_of(&answer)),
    })
}

/// Carries a look-up's ending out.
pub(in crate::node) fn carry_out(state: &mut State, ticket: Ticket, found: Found) {
    match found {
        Found::Record(record) => {
            report::learn_told(state, &record);
            state.reply(ticket, Reply::Found(record));
        }
        Found::Refuse(refusal) => state.refuse(ticket, refusal),
    }
}
