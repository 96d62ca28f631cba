//! The device twin: three sections of JSON that hub and device keep alike.
//!
//! ```text
//!             writes                        writes
//!   service ─────────► tags, desired ◄─────┐
//!      ▲                    │ notification │ reads
//!      │ reads              ▼              │
//!      └────── reported ◄──────────── device
//! ```
//!
//! Updates are merge patches (RFC 7396): objects merge, `null` removes, everything else replaces.

mod document;
mod limits;
mod merge;
mod metadata;
mod section;

pub use self::{
    document::{Twin, TwinFormatError},
    limits::{SectionKind, TwinError, validate},
    merge::{merge, patch},
    section::Section,
};

/// A section of a twin, or any part of one that is an object.
pub type Properties = serde_json::Map<String, serde_json::Value>;

#[cfg(test)]
mod tests;
