//! The wire types of the Arklow API and, with feature `server`, its server trait with the Dropshot adapter.
//!
//! Everything is generated from `openapi.yaml`; nothing here decides anything.

#[rustfmt::skip]
mod generated;

pub use generated::*;

/// The contract, `openapi.yaml`, as JSON with its keys in the same order.
pub const CONTRACT: &str = include_str!("generated/openapi.json");
