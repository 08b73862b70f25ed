//! The words of Nostr: those of [`strfry_db::nostr`], and the filter that is
//! sent to a peer.

mod wire_filter;

pub use ::strfry_db::internal::{Outline, SecretKey, hex, json, signature};
pub use ::strfry_db::nostr::*;
pub use wire_filter::Filter;
