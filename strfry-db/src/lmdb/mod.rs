//! LMDB's bytes: the two files of a database, its meta pages, and pages that are checked before
//! anything in them is believed. Knows nothing of what strfry keeps in them.

pub(crate) mod data_file;
pub(crate) mod files;
#[cfg(feature = "lmdb")]
pub(crate) mod lock_file;
pub(crate) mod map;
pub(crate) mod meta_page;
pub(crate) mod page;
mod reach;
pub(crate) mod read_ahead;
pub(crate) mod reader_locks;
