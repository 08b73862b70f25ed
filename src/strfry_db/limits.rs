//! The numbers of the read side, each with its reason.

use std::time::Duration;

/// Lookups in one read transaction. At about 1 µs each a batch holds its snapshot for 10 ms at
/// most, far less than the second that strfry's importer waits between two commits.
pub const LOOKUPS_PER_SNAPSHOT: usize = 10_000;

/// Index entries that one read transaction walks over when counting. About 10 ms of walking.
pub const ENTRIES_PER_SNAPSHOT: usize = 500_000;

/// Events that one read transaction reads whole. About 10 ms where the pages are in memory.
pub const EVENTS_PER_SNAPSHOT: usize = 10_000;

/// No walk holds a read transaction longer, however slow the disk: a tenth of the second that
/// strfry's importer waits between two commits, so that few pages pile up behind it.
pub const SNAPSHOT_TIME: Duration = Duration::from_millis(100);

/// Bytes of events that are read before they are handed on. More would only take memory: a batch
/// of this size is written in a few milliseconds.
pub const BATCH_BYTES: usize = 4 << 20;

/// A decompressed payload is never larger. strfry itself refuses more than its
/// `events.maxEventSize` (65,536 unless configured), so 4 MiB leaves room for any sane setting
/// while a forged frame header cannot make us allocate more.
pub const DECOMPRESSED_PAYLOAD: usize = 4 << 20;

/// Named databases that LMDB keeps open handles for. strfry uses 16.
pub const NAMED_DATABASES: u32 = 32;
