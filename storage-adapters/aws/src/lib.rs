//! The common part of the stores on AWS: where, with which credentials, what failures mean, and the
//! time that answers carry.
//!
//! * [`Location`] – what a store's URL says; [`Form`] – what one service wants of it.
//! * [`settings`] – with which credentials and in which region, and how the SDK is to behave; [`Keys`] – credentials that are given; [`Mistake`] – why
//!   there is nothing to send requests with.
//! * [`answer_of`] – what it means that no answer of the service came; [`said`], [`not_spoken`], [`chain`] – the words of failures.
//!
//! * [`Times`] – the service's own time, as its answers carried it.
//!
//! What an answer of a service means, and what remedy there is, its own adapter knows.

mod failure;
mod location;
mod mistake;
mod settings;
mod times;

pub use failure::{answer_of, chain, not_spoken, said};
pub use location::{Form, Location};
pub use mistake::Mistake;
pub use settings::{Keys, Settings, settings};
pub use times::Times;
