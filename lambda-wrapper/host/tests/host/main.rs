//! Goal: functions run as on Lambda, and tests can cause its faults. Method: a host, real processes
//! (a tiny runtime and an extension in Python, in `tests/programs`), and what they answer, write
//! and leave behind. Every wait is for a condition, and has one limit.
//!
//! * `invocations` – answers, errors, sizes, streams, concurrency. `ends` – timeouts, crashes,
//!   failed starts. `life` – freezes, extensions, the ends of environments and hosts.
//! * `managed` – several invocations at once in an environment.
//! * `events` – retries and duplicates. `http` – the Invoke API. `wire` – the APIs of processes,
//!   call by call. `awslambdaric` – AWS's own runtime client for Python.

mod awslambdaric;
mod client;
mod ends;
mod events;
mod http;
mod invocations;
mod life;
mod managed;
mod support;
mod wire;
