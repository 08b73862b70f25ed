//! One conversation with one peer relay: connecting, asking, paging to the end, saying how it
//! went.
//!
//! Everything a peer sends is hostile. Knows events and filters, but neither strfry's database nor
//! what is imported: answers go to a [`Sink`].

mod auth;
mod backoff;
mod budget;
mod by_id;
mod connect;
mod connect_error;
mod connection;
mod forged;
mod info;
mod ledger;
pub mod limits;
mod local;
mod manners;
mod message;
mod metered;
mod outcome;
mod page_request;
mod paging;
mod probe;
mod reconcile;
mod refusal;
mod requests;
mod room;
mod session;
mod sink;
mod too_large;
mod trace;
mod wanted;

pub use auth::AuthKey;
pub use backoff::Pace;
pub use connect::Dialler;
pub use connect_error::ConnectError;
pub use forged::ForgedIds;
pub use info::RelayInfo;
pub use ledger::Ledger;
pub use local::{ItemSet, Local, LocalError, LocalItems, MissingIds};
pub use outcome::{FetchOutcome, Gap, GapReason, Withheld};
pub use probe::Probe;
pub use room::Room;
pub use session::{PeerSession, Share};
pub use sink::{Sink, Standing, Stopped, Unwanted};
pub use trace::{Clean, Trace};
