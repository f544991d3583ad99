//! The wire types of the Arklow API and, with feature `server`, its server trait with the Dropshot adapter.
//!
//! Everything is generated from `openapi.yaml`; nothing here decides anything.

#[rustfmt::skip]
mod generated;

pub use generated::*;
