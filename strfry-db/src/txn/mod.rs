//! One moment of the database, and what keeps it whole: a slot in the lock file (`registered`), or a
//! look afterwards at what strfry has committed meanwhile (`optimistic`).

pub(crate) mod copies;
pub(crate) mod cursor;
pub(crate) mod moment;
#[cfg(feature = "lmdb")]
pub(crate) mod open_here;
pub(crate) mod open_snapshots;
pub(crate) mod optimistic;
pub(crate) mod page_reader;
pub(crate) mod page_txn;
#[cfg(feature = "lmdb")]
pub(crate) mod registered;
pub(crate) mod snapshot;
