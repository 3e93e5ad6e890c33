//! The common part of the stores on AWS: location, credentials, the meaning of failures, and the
//! time that answers carry.
//!
//! * [`Location`] – a parsed store URL; [`Form`] – the rules that one service sets for it.
//! * [`settings`] – credentials, region, and the behaviour of the SDK; [`Keys`] – explicit
//!   credentials; [`Mistake`] – the reasons why requests cannot be sent.
//! * [`answer_of`] – the meaning of a failure without an answer from the service; [`said`],
//!   [`not_spoken`], [`chain`] – the texts of failures.
//! * `proxy` – the HTTP client, which asks the environment's proxy unless the service is on this
//!   machine.
//! * [`Times`] – the service's own time, from the `Date` headers of its answers.
//!
//! The meaning of a service's own answers, and what to do about them, is up to that service's
//! adapter.

mod failure;
mod location;
mod mistake;
mod proxy;
mod settings;
mod times;

pub use failure::{answer_of, chain, not_spoken, said};
pub use location::{Form, Location};
pub use mistake::Mistake;
pub use settings::{Keys, Settings, settings};
pub use times::Times;
