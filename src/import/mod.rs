//! What strfry is given and what became of it.
//!
//! Events are written only through `strfry import`'s standard input; what it did with them is
//! read from the database, never taken from its exit status or its totals.

mod encode;

pub use encode::{EventLimits, Refusal, StoredEvent, parse_address};
