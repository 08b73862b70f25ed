//! What an event, a filter, a pubkey and a kind are, and whether an event is genuine.
//!
//! Pure: nothing here opens a file, a socket or a database. Everything that parses takes hostile
//! bytes and answers with a typed error.

mod event;
pub(crate) mod filter;
mod genuine;
pub(crate) mod hex;
mod id;
pub(crate) mod json;
pub(crate) mod keys;
pub mod kind;
pub(crate) mod outline;
pub(crate) mod signature;

pub use event::{Event, Malformed, TagField};
pub use genuine::NotGenuine;
pub use id::ExpectedId;
pub use keys::{EventId, KeyError, Pubkey, Signature};
