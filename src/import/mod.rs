//! What strfry is given and what became of it.
//!
//! Events are written only through `strfry import`'s standard input; what it did with them is
//! read from the database, never taken from its exit status or its totals.

mod child;
mod confirm;
mod encode;
mod importer;
pub mod limits;

pub use crate::node::EventLimits;
pub use child::{ImportError, Quote, StrfryCommand};
pub use confirm::Fate;
pub use encode::{Refusal, StoredEvent, parse_address};
pub use importer::{Importer, Settled};
