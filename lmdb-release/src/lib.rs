//! LMDB of the 0.9 release series, under the name and interface that heed links.
//!
//! strfry links an LMDB 0.9 release, whose lock file has lock version 1. The crate that heed
//! takes by default bundles LMDB's development branch, whose lock file has another layout
//! (lock version 2): the two cannot share a live database, and whichever comes second fails with
//! `MDB_VERSION_MISMATCH`. This crate stands in for it. It changes one thing, by which a process is
//! known in the lock file: see `process.rs`.

mod process;

pub use lmdb_sys::*;
pub use process::{mdb_env_close, mdb_env_open};

/// "Unexpected problem - txn should abort": a return code of the development branch. LMDB 0.9
/// never returns it, so here it says that the linked LMDB is not the one that this crate is
/// written for.
pub const MDB_PROBLEM: core::ffi::c_int = -30779;

/// Open the previous snapshot: an environment flag of the development branch. LMDB 0.9 does not
/// know it, so it must never be passed; heed only names it.
pub const MDB_PREVSNAPSHOT: core::ffi::c_uint = 0x0200_0000;
