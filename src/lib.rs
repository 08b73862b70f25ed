//! A native companion to the Nostr relay strfry: reads its database while it runs, fetches what is
//! missing from peer relays, verifies it, imports it through strfry, and proves that it landed.
//!
//! The README says what the program does; this is the map of its modules.
//!
//! | module | owns |
//! |---|---|
//! | [`strfry_db`] | a crate of its own: strfry's database, read-only: every byte layout of it, lookups, scans, short snapshots |
//! | [`nostr`] | of that crate: what an event, a filter, a pubkey and a kind are, and whether an event is genuine; pure |
//! | [`node`] | the machine around: paths, strfry's configuration, peers, pubkeys, blacklist, lock |
//! | [`peer`] | one conversation with one peer: comparing, asking by id or page by page, how it went; the want list that all peers share |
//! | [`import`] | what `strfry import` is given, and what became of it; the command of that name |
//! | [`jsonl`] | JSON lines from files, compressed or not, in bounded pieces |
//! | [`backfill`] | the main job; joins all the others, and is the only one that knows them all |
//! | [`doctor`] | what would keep a backfill from working here, and what to do about it |
//! | [`history`] | the summaries of earlier backfills, and what they tell |
//! | [`verify`] | whether all events of a database, or of a file, are genuine |
//! | [`profile`] | what an author says about themself; the profiles file |
//! | [`report`] | the log, statistics, progress; strangers' text made fit to be shown |
//! | [`files`] | opening files that somebody may have replaced: no pipe, device or stranger's link |
//! | [`stop`] | whether a run is told to stop, and until when it may still wait |
//! | [`cli`] | arguments, a file for each command, exit codes |
//!
//! # Data flow
//!
//! It runs one way, from what the node wants to what was found out:
//!
//! ```text
//! node ──→ strfry_db ──→ backfill ──→ peer ──→ nostr ──→ import ──→ strfry_db ──→ profile, report
//! who      what is here  what to ask  answers   genuine?  strfry     did it land?
//! ```
//!
//! Every peer has a task of its own. One pipeline ([`import::Pipeline`]), which imports from files
//! use too, drops what is here already, checks the rest on all cores and writes it to strfry in the
//! order in which it came; while strfry is slow, the pipeline waits, its bounded queues fill, and so
//! nothing more is read from the peers. Each event ends in exactly one [`import::Class`].
//!
//! [`strfry_db`] and [`peer`] do not know each other, and no read transaction is open while
//! anything waits.
//!
//! # Reading a database
//!
//! ```no_run
//! use std::path::Path;
//!
//! use strfry_companion::nostr::{Pubkey, kind};
//! use strfry_companion::strfry_db::StrfryDb;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let db = StrfryDb::open(Path::new("/srv/strfry/strfry-db"))?;
//! let pubkeys: Vec<Pubkey> =
//!     vec!["3bf0c63fcb93463407af97a5e5ee64fa883d107ef9e558472c4eb9aaaefa459d".parse()?];
//! for (pubkey, found) in pubkeys.iter().zip(db.newest_of_each(&pubkeys, kind::PROFILE)?) {
//!     match found {
//!         Some(found) => println!("{pubkey} has a profile of {}", found.created_at),
//!         None => println!("{pubkey} has no profile"),
//!     }
//! }
//! # Ok(())
//! # }
//! ```

pub mod backfill;
pub mod cli;
mod disk_room;
pub mod doctor;
pub mod files;
#[cfg(test)]
mod golden;
pub mod history;
pub mod import;
pub mod jsonl;
pub mod node;
pub mod nostr;
pub mod peer;
pub mod profile;
pub mod report;
pub mod stop;
pub mod verify;

/// The crate of that name, and what of its inside this program needs.
pub mod strfry_db {
    pub use ::strfry_db::internal::*;
    pub use ::strfry_db::*;
}

/// The examples of the README, compiled with those of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
