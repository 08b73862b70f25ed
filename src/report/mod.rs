//! What a run tells: its log, its statistics, its progress line.
//!
//! Everything that reaches a terminal or a log from outside goes through the cleaning functions
//! here. Nothing in this module decides what a run does.

mod causes;
mod color;
mod log;
mod memory;
mod progress;
mod sanitize;
mod sync_stats;

pub use causes::with_causes;
pub use color::Color;
pub(crate) use log::ROTATED_KEPT;
pub use log::{Level, OpenLogError, RunLog, Terminal, WriteFailed};
pub use memory::peak_memory;
pub use progress::{PeerState, Progress, ProgressState};
pub use sanitize::{
    LOGGED_COLUMNS, clean, clean_for_log, clean_json, clean_lines, clean_to, clean_whole_for_log,
};
pub use sync_stats::{StatKey, SyncStats};
