//! The store on DynamoDB against real servers: DynamoDB Local, and moto, which shares no code with
//! it.
//!
//! * `conformance` – the contract, races included. * `requests` – the cost of a transaction, in
//!   requests and in units.
//! * `failures` – throttling, invalid answers, bad settings, a SIGKILL. * `commands` – the binary.

mod commands;
mod conformance;
mod failures;
mod requests;
