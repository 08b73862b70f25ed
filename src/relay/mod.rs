//! One conversation with one peer relay: connecting, asking, paging to the end, saying how it
//! went.
//!
//! Everything a peer sends is hostile. Knows events and filters, but neither strfry's database nor
//! what is imported: answers go to a [`Sink`].

mod connect;
pub mod limits;
mod message;
mod outcome;
mod paging;
mod queries;
mod session;
mod sink;

pub use connect::{ConnectError, Dialler};
pub use outcome::{FetchOutcome, Gap, GapReason};
pub use queries::Pace;
pub use session::PeerSession;
pub use sink::{Sink, Stopped, Unwanted};
