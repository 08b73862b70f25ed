//! What would keep a backfill from working here, and what to do about it: a file for each area.
//!
//! Nothing on the node is changed: no file or directory is made, no lock is taken. What it starts is
//! strfry, with an import of nothing, and only on a database that strfry has open anyway; and it
//! connects to peers, as a backfill does.

mod database;
mod disk;
mod files;
mod finding;
mod peers;
mod runs;
mod strfry;

pub use database::{Opened, Sharing, database};
pub use disk::{Place, Thresholds, disk};
pub use files::{Written, files};
pub use finding::{Area, Check, Finding, Level, Report, Trouble};
pub use peers::{Asked, peers};
pub use runs::{last_run, running, state};
pub use strfry::{Strfry, strfry};
