//! The numbers of importing, each with its reason.

use std::time::Duration;

/// strfry says nothing and takes nothing for so long: it hangs. A commit of its largest batch
/// takes seconds even on slow disks.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// After SIGTERM, before SIGKILL. strfry does not catch SIGTERM, and LMDB forgets an unfinished
/// transaction, so this only bridges a slow disk.
pub const PATIENCE_AFTER_SIGTERM: Duration = Duration::from_secs(10);

/// Bytes gathered before they are written to strfry: the size of a pipe on Linux.
pub const WRITE_BUFFER: usize = 64 << 10;

/// Unconfirmed events after which the database is asked. strfry commits batches of 10,000
/// (`--write-batch`).
pub const EVENTS_BETWEEN_CONFIRMATIONS: usize = 10_000;

/// Memory of unconfirmed events beyond which nothing more is written until strfry has committed.
/// More than strfry itself holds back (two batches of 10,000 events of 600 bytes), so that it is
/// never starved.
pub const UNCONFIRMED_BYTES: usize = 24 << 20;

/// Lines of strfry's log that an error quotes.
pub const QUOTED_LINES: usize = 10;

/// Longest line of strfry's log that is kept, bytes. A rejection quotes 200 characters of JSON.
pub const LOG_LINE: usize = 2_000;

/// Rejections that are remembered with their reason.
pub const REMEMBERED_REJECTIONS: usize = 1_000;

/// `Rejected event: ` is followed by so many bytes of the event's JSON (strfry up to 1.1.1).
pub const REJECTION_QUOTE: usize = 200;
