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

/// Events that strfry commits together (`--write-batch`), so that it and we know the same number.
/// It takes twice as many before it lets us wait; see `benches/import.rs`.
pub const WRITE_BATCH: usize = 10_000;

/// How long strfry gathers events before a commit that is not full (`--debounce-millis`). Its own
/// second is a second in which it does nothing.
pub const DEBOUNCE: Duration = Duration::from_millis(100);

/// Unconfirmed events that strfry is through with after which the database is asked.
pub const EVENTS_PER_CONFIRMATION: u64 = 2_000;

/// Memory of unconfirmed events beyond which nothing more is written until strfry has committed:
/// some 14,000 ordinary events, so that it has the next batch while it commits one. 24 MiB make
/// a backfill of 300,000 events 2 % faster.
pub const UNCONFIRMED_BYTES: usize = 14 << 20;

/// Lines of strfry's log that an error quotes.
pub const QUOTED_LINES: usize = 10;

/// Longest line of strfry's log that is kept, bytes. A rejection quotes 200 characters of JSON.
pub const LOG_LINE: usize = 2_000;

/// Rejections that are remembered with their reason.
pub const REMEMBERED_REJECTIONS: usize = 1_000;

/// `Rejected event: ` is followed by so many bytes of the event's JSON (strfry up to 1.1.1).
pub const REJECTION_QUOTE: usize = 200;

/// Distinct reasons that an account keeps; a hostile peer can invent any number.
pub const REASONS: usize = 50;

/// Events of one batch of checks: 7 ms of signature checks for one thread, so that batches keep all
/// cores busy and still flow.
pub const BATCH: usize = 256;

/// Bytes of events of one batch of checks, for the largest ones.
pub const BATCH_BYTES: usize = 512 << 10;

/// Batches that are checked or wait for strfry, beside one for each thread.
pub const BATCHES_AHEAD: usize = 4;

/// Events that the self-check encodes anew: about a millisecond.
pub const SELF_CHECK_EVENTS: u64 = 64;

/// A line of input may be longer than the event in it: a character can be written in six
/// (`\u0041`), and strfry drops keys that it does not know.
pub const LINE_BYTES_PER_EVENT_BYTE: usize = 6;
/// See [`LINE_BYTES_PER_EVENT_BYTE`].
pub const LINE_BYTES_OVER: usize = 1 << 20;

/// Superseded and deleted events of which a summary names the event that is to blame.
pub const EXAMPLES: usize = 20;
