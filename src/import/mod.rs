//! What strfry is given and what became of it.
//!
//! [`run`] imports files; other sources use the [`Pipeline`].
//!
//! Events are written only through `strfry import`'s standard input; what it did with them is
//! read from the database, never taken from its exit status or its totals.

mod accounts;
mod allowance;
mod child;
mod child_log;
mod command;
mod confirm;
mod encode;
mod event_head;
mod fate;
mod importer;
mod initialise;
pub mod limits;
mod memory;
mod neighbours;
mod pipeline;
mod rejection;
mod rejects;
mod run;
mod self_check;
mod spool;
mod summary;
mod version;
mod watch;
mod window;

pub use crate::node::EventLimits;
pub use accounts::{Class, Status, Tally};
pub use child::{Form, ImportError};
pub use child_log::Quote;
pub use command::{StrfryCommand, WordsError};
pub use encode::{Refusal, StoredEvent, parse_address};
pub(crate) use encode::{pack, rewritten};
pub use event_head::EventHead;
pub use fate::Fate;
pub use importer::{Importer, Settled, Window};
pub use initialise::{initialise, is_untouched};
pub use neighbours::CommitTime;
pub use pipeline::{Barrier, Ended, Ledger, Pipeline, Settings};
pub use rejects::RejectsError;
pub use run::{Job, RunError, Sofar, run};
pub use self_check::{SelfCheck, check_encoding, choose_form};
pub use summary::{Examples, Instead, Summary};
pub use version::{VersionError, version};
