//! strfry's database, read-only, beside a running strfry.
//!
//! Owns every byte layout of `strfry-db/data.mdb` (DB version 3). Never writes, never creates a
//! file, never takes the write lock, and holds a read transaction only for one bounded batch: a
//! transaction pins old pages, and while it is open strfry's file grows.
//!
//! | folder | owns |
//! |---|---|
//! | [`nostr`] | events, filters, ids, keys, signatures; pure |
//! | `format` | strfry's bytes: keys, their order, values |
//! | `lmdb` | LMDB's bytes: the two files, meta pages, pages that are checked before anything in them is believed |
//! | `txn` | one moment: a slot in the lock file, or copies that are checked afterwards |
//! | `read` | what is read: single keys, scans, exports, figures |
//!
//! Pages are read by this crate itself (`lmdb::page`, `txn::cursor`): a damaged database is an error,
//! never a crash, and never a part of the answer taken for the whole as far as a format without check
//! sums lets it be noticed. Two ways to read differ in what keeps the pages as they are:
//!
//! - With a slot in strfry's own lock file, straight on a map of the data file (feature `lmdb`: the
//!   C library LMDB opens the lock file and takes the slot, and reads no page).
//! - Without the lock file, where it cannot be shared, on copies, which count only if strfry has
//!   not overtaken them (`txn::optimistic` says why that is sound and where not).
//!
//! What this does not protect from: a data file that something cuts short while it is being read on
//! its map ends the process (SIGBUS), as it would strfry. Its length is looked at before each batch.

mod error;
mod format;
#[cfg(any(test, fuzzing))]
mod fuzz;
#[cfg(test)]
pub(crate) mod golden;
mod limits;
mod lmdb;
pub mod nostr;
mod open;
mod read;
mod txn;

/// What the target in `fuzz/` runs; `cargo fuzz` sets `fuzzing`.
#[cfg(fuzzing)]
#[doc(hidden)]
pub use fuzz::DamagedFile;

pub use error::{OpenError, ReadError};
pub use format::keys::LevId;
pub use format::packed_event::PackedEvent;
pub use nostr::filter::{Filter, FilterError};
pub use open::StrfryDb;
pub use read::get::Found;
pub use read::scan::{Newer, Scan, ScanOptions};
pub use read::stats::Stats;
pub use read::stored_event::copied::StoredEvent;

/// What strfry-companion needs beyond this crate's purpose: its `stats`, `export` and `verify` show
/// how a database is kept, it writes events as strfry would, and its tests write whole databases.
/// So they share byte layouts and numbers. No promise is made about any of it (nor about hidden
/// methods), and any version may change it.
#[doc(hidden)]
pub mod internal {
    pub use crate::format::flatbuffers::{CompressionDictionary, Meta, NegentropyFilter};
    pub use crate::format::keys::{
        id_key, kind_key, pubkey_key, pubkey_kind_key, replace_key, tag_key,
    };
    pub use crate::nostr::keys::SecretKey;
    pub use crate::nostr::outline::Outline;
    pub use crate::read::export::{Export, ExportForms, ExportRange};
    pub use crate::read::get_each::StoredJson;
    pub use crate::read::in_order::Buffers;
    pub use crate::read::scan::Batch;
    pub use crate::read::stats::AuthorCount;
    pub use crate::read::storage::{Dictionaries, NegentropyTree, Payloads, Readers};
    pub use crate::read::stored_event::forms::{Damage, StoredForms};
    pub use crate::txn::open_snapshots::Ending;
    #[cfg(feature = "lmdb")]
    pub use crate::txn::registered::linked_lmdb;
    pub use crate::txn::snapshot::Snapshot;

    pub mod hex {
        pub use crate::nostr::hex::*;
    }

    pub mod json {
        pub use crate::nostr::json::*;
    }

    pub mod limits {
        pub use crate::limits::*;
    }

    pub mod comparators {
        pub use crate::format::comparators::*;
    }

    pub mod packed_event {
        pub use crate::format::packed_event::*;
    }

    pub mod signature {
        pub use crate::nostr::signature::*;
    }

    pub mod tables {
        pub use crate::format::tables::*;
    }
}

/// The recipes of the README, compiled with those of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
