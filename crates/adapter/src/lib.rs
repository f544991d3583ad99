//! The runtime of generated servers: reads requests, detects errors, writes answers.
//!
//! If the extensions of a request hold a [`tracing::Span`], the operation runs in it, and its fields `operation` and
//! `request_id` are recorded. The extensions of a response hold the [`OperationId`].
//!
//! It knows no document. Generated code describes each operation by the traits of this crate, and the handler is the same for
//! all:
//!
//! ```text
//! request ──▶ Access::authenticate ──▶ Input::read, checked by its schema ──▶ Handler::call
//!                      │                          │                              │      │
//!                  RequestError              RequestError                     Error  Success
//!                      └────────────┬─────────────┘                              │      │
//!                             Errors::body                           Errors::reply  Operation::reply
//! ```

mod body;
mod by_schema;
mod bytes;
mod error;
mod kind;
mod operation;
mod origin;
mod request;
mod response;
mod routes;
mod template;
mod timeout;
mod validate;

use std::time::Duration;

pub use body::BodyMode;
pub use bytes::Bytes;
pub use error::{In, RequestError, Violation};
pub use kind::{Kind, Separator};
pub use operation::{
    Access, Errors, Handler, NoParameters, Nothing, Operation, OperationId, Parameter, Parameters,
    Public,
};
pub use origin::{
    Origin, Secret, basic, bearer, cookie, credential, forwarded_for, query_credential,
};
pub use response::{Declared, ErrorAnswer, ErrorKey, Reply, error_reply, read_status, status};
pub use routes::{Routes, Served};

/// What holds for every operation.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The largest body, in bytes, that is read.
    pub max_body_bytes: usize,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// How long the implementation may take, without the time in which the body arrives.
    pub deadline: Duration,
    /// What `Retry-After` says on 503 when the implementation does not.
    pub retry_after: Duration,
    /// How many requests the implementation works on at once. Further ones are answered with 503, so that those keep their
    /// latency. A request whose body is still arriving does not count.
    pub max_running: usize,
}

impl Default for Settings {
    /// 64 KiB, 10 s, 15 s, 1 s, and 1,024 requests.
    fn default() -> Self {
        Self {
            max_body_bytes: 64 * 1024,
            body_timeout: Duration::from_secs(10),
            deadline: Duration::from_secs(15),
            retry_after: Duration::from_secs(1),
            max_running: 1_024,
        }
    }
}
