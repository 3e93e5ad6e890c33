//! The store on DynamoDB against real servers: DynamoDB Local, and moto, which shares no code with it.
//!
//! * `conformance` – the contract, races included. * `requests` – what a transaction costs, on the wire and in units.
//! * `trouble` – throttling, garbage, mistakes at the start, a SIGKILL. * `commands` – the binary.

mod commands;
mod conformance;
mod requests;
mod trouble;
