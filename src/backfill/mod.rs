//! The main job: joins what the node wants, what the database has, what peers give, and what
//! strfry takes. The only module that knows them all.

mod arrived;
mod coverage;
mod diff;
mod difference;
mod error;
mod fetch;
mod gained;
mod holes;
mod intake;
mod job;
pub mod kinds;
pub mod limits;
mod local_index;
mod local_window;
mod look;
mod metrics;
mod plan;
mod progress;
mod promise;
mod recovery;
mod rehearsal;
mod results;
mod run;
mod summary;
mod tunnels;
mod unknown_author_quota;
mod write_relays;

/// The accounts of an import, which every peer has one of.
mod accounts {
    pub(super) use crate::import::{Class, Tally};
}

pub use crate::import::{Class, Status, Tally};
pub use coverage::{StateError, check_state};
pub use diff::{DiffJob, PeerDiff, diff};
pub use difference::{Side, Sides};
pub use error::BackfillError;
pub use gained::Gained;
pub use job::{Job, Output, Timings};
pub use kinds::KindsError;
pub use look::{Looked, Unreached, look_at_all};
pub use metrics::{metrics, metrics_of_failure};
pub use plan::since;
#[doc(hidden)]
pub use rehearsal::{Rehearsal, RehearsedRun, SavedState};
pub use run::run;
pub use summary::{
    GapSummary, NO_FALLBACK_ANSWERED, PeerStatus, PeerSummary, PhaseSummary, ProfileCounts,
    Summary, VERSION, WithheldSummary,
};
pub use tunnels::{Ipfs, Tunnels};
