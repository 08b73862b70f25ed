//! One conversation with one peer relay: connecting, asking, paging to the end, saying how it
//! went.
//!
//! Everything a peer sends is hostile. Knows events and filters, but neither strfry's database nor
//! what is imported: answers go to a [`EventSink`].

mod auth;
mod backoff;
mod budget;
mod cause;
mod connect;
mod connect_error;
mod connection;
mod conversation;
mod fingerprints;
mod forged;
mod host;
mod id_fetch;
mod info;
mod item_set;
pub mod limits;
mod line;
mod message;
mod metered;
mod negentropy;
mod outcome;
mod overview;
mod pager;
mod peer_limits;
mod probe;
mod ranges;
mod reconcile;
mod room;
mod session;
mod too_large;
mod trace;
mod want_list;
mod wanted_ids;
mod wording;

pub use auth::AuthKey;
pub use backoff::Pace;
pub use cause::Cause;
pub use connect::Dialler;
pub use connect_error::ConnectError;
pub use fingerprints::Fingerprints;
pub use forged::ForgedIds;
pub use host::{
    EventSink, LocalError, LocalEvents, LocalItems, LocalOpening, LocalOverview, MissingIds,
    Opening, Standing, Stopped, Unwanted,
};
pub use info::RelayInfo;
pub use item_set::ItemSet;
pub use line::{Line, LineEnds};
pub use outcome::{FetchOutcome, Gap, GapReason, Withheld};
pub use probe::Probe;
pub use room::Room;
pub use session::{PeerSession, Share};
pub use trace::{Clean, Trace};
pub use want_list::WantList;
