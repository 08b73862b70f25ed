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
mod limits;
mod lock_file;
mod lookup;
mod lookups;
mod moment;
pub mod nostr;
mod open;
mod open_snapshots;
mod orders;
mod packed;
mod page;
mod pages;
mod payload;
mod records;
mod scan;
mod schema;
mod snapshot;
mod stats;
mod storage;
mod tables;
mod unlocked;
mod walk;
mod whole_event;

pub use error::{OpenError, ReadError};
pub use keys::LevId;
pub use lock_file::Libc;
pub use lookup::Found;
pub use lookups::StoredJson;
pub use nostr::filter::{Filter, FilterError};
pub use open::StrfryDb;
pub use packed::PackedEvent;
pub use scan::{Batch, Newer, Scan, ScanOptions, StoredEvent};
pub use snapshot::Snapshot;
pub use stats::Stats;

/// What strfry-companion needs beyond this crate's purpose: its `stats`, `export` and `verify` show
/// how a database is kept, it writes events as strfry would, and its tests write whole databases.
/// So they share byte layouts and numbers. No promise is made about any of it (nor about hidden
/// methods), and any version may change it.
#[doc(hidden)]
pub mod internal {
    pub use crate::export::{Export, ExportRange, StoredEvents};
    pub use crate::keys::{id_key, kind_key, pubkey_key, pubkey_kind_key, replace_key, tag_key};
    pub use crate::nostr::keys::SecretKey;
    pub use crate::nostr::outline::Outline;
    pub use crate::open::linked_lmdb;
    pub use crate::open_snapshots::Ending;
    pub use crate::schema::{CompressionDictionary, Meta, NegentropyFilter};
    pub use crate::stats::AuthorCount;
    pub use crate::storage::{Dictionaries, NegentropyTree, Payloads, Readers};
    pub use crate::whole_event::{Damage, WholeEvent};

    pub mod hex {
        pub use crate::nostr::hex::*;
    }

    pub mod json {
        pub use crate::nostr::json::*;
    }

    pub mod limits {
        pub use crate::limits::*;
    }

    pub mod orders {
        pub use crate::orders::*;
    }

    pub mod packed {
        pub use crate::packed::*;
    }

    pub mod signature {
        pub use crate::nostr::signature::*;
    }

    pub mod tables {
        pub use crate::tables::*;
    }
}

/// The recipes of the README, compiled with those of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
