//! The summaries of earlier backfills: a file of JSON lines that grows by one with each run, and
//! what it tells.
//!
//! Whatever the file holds, reading it takes bounded time and memory: a line that is not a summary
//! is skipped and counted.

mod difference;
mod file;
mod page;
mod run;

pub use difference::{Difference, PeerChange};
pub(crate) use file::HISTORY_KEPT;
pub use file::{AppendError, History, ReadError, append, read};
pub use page::{Language, page};
pub use run::{PeerRun, Run, RunCause, RunGained, RunGap, RunPhase, RunProfiles};
