//! Client of the Arklow API, for other services.
//!
//! The methods are generated from `openapi.yaml` by Progenitor; the types are those of the server.

#[rustfmt::skip]
mod generated;

pub use arklow_api::types;
pub use generated::*;
