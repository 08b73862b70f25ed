//! strfry's database, read-only, beside a running strfry.
//!
//! Owns every byte layout of `strfry-db/data.mdb` (DB version 3). Never writes, never creates a
//! file, never takes the write lock, and holds a read transaction only for one bounded batch: a
//! transaction pins old pages, and while it is open strfry's file grows.
//!
//! Where strfry's lock file cannot be shared, the database can be read without it, and without
//! LMDB, if that is asked for ([`StrfryDb::open_without_lock`]): page by page, each copied, then
//! checked, then looked at. The file `unlocked.rs` says why that is sound and where not.
//!
//! What this does not protect from: LMDB trusts the structure of its own pages. A data file that
//! is cut short, or whose table of tables is damaged, is refused before LMDB maps it; other damaged
//! pages can make LMDB crash, as they would in strfry. What it reads of them without crashing must
//! ascend and be as much as the table says. Without LMDB each page is checked (`page`, `pages`).

mod data_file;
mod error;
mod export;
mod files;
mod free_pages;
#[cfg(test)]
pub(crate) mod golden;
mod keys;
pub mod limits;
mod lock_file;
mod lookup;
mod lookups;
mod moment;
pub mod nostr;
mod open;
mod open_snapshots;
pub mod orders;
pub mod packed;
mod page;
mod pages;
mod payload;
mod records;
pub mod scan;
mod schema;
mod snapshot;
mod stats;
mod storage;
pub mod tables;
mod unlocked;
mod walk;
mod whole_event;

pub use error::{OpenError, ReadError};
pub use export::{Export, ExportRange, StoredEvents};
pub use keys::{LevId, id_key, kind_key, pubkey_key, pubkey_kind_key, replace_key, tag_key};
pub use lock_file::Libc;
pub use lookup::Found;
pub use lookups::StoredJson;
pub use nostr::{Filter, FilterError, ItemProblem};
pub use open::{StrfryDb, linked_lmdb};
pub use open_snapshots::Ending;
pub use packed::PackedEvent;
pub use schema::{CompressionDictionary, Meta, NegentropyFilter};
pub use snapshot::Snapshot;
pub use stats::{AuthorCount, Stats};
pub use storage::{Dictionaries, NegentropyTree, Payloads, Readers};
pub use whole_event::{Damage, WholeEvent};
