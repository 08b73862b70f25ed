//! strfry's database, read-only, beside a running strfry.
//!
//! Owns every byte layout of `strfry-db/data.mdb` (DB version 3). Never writes, never creates a
//! file, never takes the write lock, and holds a read transaction only for one bounded batch: a
//! transaction pins old pages, and while it is open strfry's file grows.
//!
//! What this does not protect from: LMDB trusts the structure of its own pages. A data file that
//! is cut short is refused before LMDB maps it, but pages damaged in their middle by a failing
//! disk can make LMDB itself misbehave, as they would in strfry.

mod data_file;
mod error;
mod export;
mod free_pages;
mod keys;
pub mod limits;
mod lookup;
mod open;
pub mod orders;
pub mod packed;
mod payload;
mod records;
pub mod scan;
mod schema;
mod stats;
mod storage;
pub mod tables;
mod walk;

pub use error::{OpenError, ReadError};
pub use export::{Export, ExportRange, StoredEvents, WholeEvent};
pub use keys::{id_key, kind_key, pubkey_key, pubkey_kind_key, tag_key};
pub use lookup::{Found, LevId, Snapshot, StoredJson};
pub use open::{StrfryDb, linked_lmdb};
pub use packed::PackedEvent;
pub use schema::{CompressionDictionary, Meta, NegentropyFilter};
pub use stats::{AuthorCount, Stats};
pub use storage::{Dictionaries, NegentropyTree, Payloads, Readers};
