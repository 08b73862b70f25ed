//! What an event, a filter, a pubkey and a kind are, and whether an event is genuine.
//!
//! Pure: nothing here opens a file, a socket or a database. Everything that parses takes hostile
//! bytes and answers with a typed error.

mod event;
mod filter;
#[doc(hidden)]
pub mod hex;
mod id;
pub mod json;
mod keys;
pub mod kind;
mod outline;
pub mod signature;

pub use event::{Event, Malformed, TagField};
pub(crate) use filter::TagFilter;
pub use filter::{Filter, FilterError, ItemProblem};
pub use id::ExpectedId;
pub use keys::{EventId, KeyError, Pubkey, SecretKey, Signature};
pub use outline::Outline;
