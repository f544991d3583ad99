//! The API over HTTP: the server, and the operations behind it. Knows no command line.
//!
//! | file | what it holds |
//! |---|---|
//! | `server` | binds the address, serves until a signal, and drains |
//! | `listener` | accepting connections, and their limits |
//! | `tls` | the certificates of listeners |
//! | `record` | the log record and the metrics of each request |
//! | `internal` | health and metrics, on the internal listener |
//! | `docs` | the documentation in the browser |
//! | `api` | the generated trait, answered by `ops` |
//! | `auth` | from a token to a caller |
//! | `ops` | the operations, one file each |
//! | `attempts`, `error` | verifying a code, for every operation; how each error is answered |
//! | `wire` | from the types of the domain to those of the contract |
//! | `qr` | the QR code of a provisioning URI |

pub(crate) mod api;
mod attempts;
pub(crate) mod auth;
mod docs;
pub(crate) mod error;
mod internal;
mod listener;
mod ops;
mod qr;
mod record;
pub(crate) mod server;
pub(crate) mod tls;
pub(crate) mod wire;
