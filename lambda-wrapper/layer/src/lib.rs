//! The Lambda layer: a proxy of the Runtime API that makes the storage effects of unmodified
//! handlers atomic, and each request's exactly once.
//!
//! ```text
//!   Lambda ◄──► runtime_api (proxy) ◄──► the function's runtime ──► handler
//!                  │ begin, commit                                    │ an SDK's calls
//!                  ▼                                                  ▼
//!              transactions ◄────────── attribution ◄──────────── storage (S3 endpoint)
//!                  │                                                  │
//!                  └──► a node in this process over the user's own store, or a shim ◄──┘
//! ```
//!
//! * [`settings`] – everything that the environment's variables set.
//! * [`role`] – the roles of the binary, by the name under which it runs: [`extension`],
//!   [`wrapper`], [`run`].
//! * [`environment`] – the variables that lead the runtime here. [`explain`] – the request ID of an
//!   event, for people.
//! * [`maintain`] – a function of its own that sweeps the store.
//! * [`Layer`] (`layer`) – the parts put together: sockets, transactions, endpoints.
//! * [`runtime_api`] – the proxy: an attempt begins before the handler sees the event, and commits
//!   before the response is posted.
//! * [`attribution`] – the invocation that a call of the handler belongs to. [`processes`] – the
//!   process that makes a call, where several invocations run at once.
//! * [`transactions`] – transactions on a node in this process, or on a shim.
//! * [`storage`] – the local S3 endpoint.
//! * [`freeze`] – finds that the process was frozen, or restored from a snapshot.
//! * [`http`] – the types and the server that both local endpoints share. [`report`] – the log.
//!
//! The layer takes no decision about transactions: the node does, and its store. Nothing is left
//! to do after a response is posted, because the environment may then be frozen for ever.

pub mod attribution;
pub mod environment;
pub mod explain;
pub mod extension;
pub mod freeze;
pub mod http;
pub mod layer;
#[cfg(feature = "embedded")]
pub mod maintain;
pub mod processes;
pub mod report;
pub mod role;
pub mod run;
pub mod runtime_api;
pub mod settings;
pub mod storage;
pub mod transactions;
pub mod wrapper;

pub use layer::Layer;
pub use settings::Settings;
