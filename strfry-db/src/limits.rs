//! The numbers of the read side, each with its reason.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Lookups in one read transaction. At about 5 µs each, where an event is read and parsed too, a
/// batch holds its snapshot for 10 ms, far less than the second that strfry's importer waits
/// between two commits; without that, for half a millisecond. A new snapshot costs about 2 µs.
pub const GETS_PER_SNAPSHOT: usize = 2_000;

/// Matches that a scan takes from one snapshot. Reading their JSON takes about 2 ms, and printing
/// needs room for this many payloads: 64 MiB if each is as large as strfry allows by default, and
/// well under 1 MiB ordinarily. A new snapshot costs about 2 µs, a thousandth of the reading.
pub const ROWS_PER_SNAPSHOT: usize = 1_024;

/// Threads that read at once. The memory of the machine is what they wait for, and each has a batch.
pub const READING_THREADS: usize = 4;

/// Matches in a batch of each of [`READING_THREADS`], of which there are some more in memory.
pub const ROWS_PER_THREAD: usize = 512;

/// Batches that one thread reads before others are asked to help: about 3 ms, long against the start
/// of their threads.
pub const BATCHES_READ_ALONE: usize = 8;

/// How long a scan or a walk looks around in one snapshot, however slow the disk. Short against the
/// second that strfry's importer waits between two commits, so that few pages pile up behind it;
/// long against the start of a snapshot.
pub const TIME_PER_SNAPSHOT: Duration = Duration::from_millis(10);

/// Steps of a scan between two looks at the clock. At about 1 µs each they are far below
/// [`TIME_PER_SNAPSHOT`].
pub const STEPS_PER_CLOCK: u32 = 64;

/// As so many steps counts one that reads some of an index, up to a thousand entries.
pub const STEPS_OF_A_READ: u32 = 16;

/// Entries that a scan reads at once from one place of an index: few where many places are merged,
/// as much as a snapshot gives out where there is one.
pub const ENTRIES_PER_READ: RangeInclusive<usize> = 16..=1_024;

/// Entries that a scan reads ahead in all the places that it merges, at 16 bytes each. Beyond
/// 4,096 places the lower end of [`ENTRIES_PER_READ`] prevails.
pub const BUFFERED_ENTRIES: usize = 65_536;

/// Pairs of author and kind that are merged. Each costs a descent into the index, about 1 µs; with
/// more, all events of the authors are read and their kinds looked at.
pub const PUBKEY_KIND_PAIRS: usize = 10_000;

/// Records further apart than this are looked up by a descent into the tree of their own, which
/// takes about as long as so many steps.
pub const STEPS_INSTEAD_OF_DESCENT: u64 = 8;

/// Entries of an index that are read instead of one event's record, where either tells whether the
/// event matches. A record is a descent into a tree of its own, and lies anywhere.
pub const ENTRIES_INSTEAD_OF_RECORD: u64 = 6;

/// Entries that are read to compare two indexes, and prefixes among which: 100 µs at most, and
/// enough to tell how dense in time they are.
pub const PROBED_ENTRIES: usize = 256;
/// See [`PROBED_ENTRIES`].
pub const PROBED_PREFIXES: usize = 32;

/// Index entries that one read transaction walks over. About 10 ms of walking.
pub const ENTRIES_PER_SNAPSHOT: usize = 500_000;

/// The same, when their pages are copied: 1 to 2 MiB of pages, and about 1 ms of walking, beside
/// which a new snapshot is nothing.
pub const ENTRIES_COPIED: usize = 20_000;

/// The pages of these: 34 bytes an entry, and pages that are half full.
pub const PAGES_OF_A_WALK: usize = 350;

/// Events that one read transaction reads whole. About 10 ms where the pages are in memory.
pub const EVENTS_PER_SNAPSHOT: usize = 10_000;

/// Leaves that a walk asks for together where they are on the disk: 256 KiB of usual pages, enough to
/// keep a solid-state disk busy.
pub const LEAVES_AHEAD: usize = 64;

/// Most pages of long values that are asked for together, 32 MiB of usual ones: a damaged record says
/// of itself how long it is.
pub const PAGES_AHEAD: u64 = 8_192;

/// Bytes of a file that are asked for by one call. Of more, Linux leaves out what is over the disk's
/// own measure (`read_ahead_kb`, by default so many).
pub const BYTES_PER_REQUEST: u64 = 128 << 10;

/// Snapshots that have not had to wait for the disk after which nothing is asked for any more. One
/// alone says little: its pages may be the upper ones, which are in memory first.
pub const SNAPSHOTS_AFTER_A_WAIT: u32 = 64;

/// Entries that one thread counts before all cores are asked to help: a few milliseconds, long
/// against the start of their threads.
pub const ENTRIES_COUNTED_ALONE: u64 = 50_000;

/// Slices of time that all cores count.
pub const SLICES: u64 = 64;

/// Entries of each walk that such a slice is to have at least: to begin a walk costs as much as some.
pub const ENTRIES_OF_A_WALK: u64 = 64;

/// Bytes of events as lines that are checked together. More would only take memory.
pub const BATCH_BYTES: usize = 4 << 20;

/// A decompressed payload is never larger. strfry itself refuses more than its
/// `events.maxEventSize` (65,536 unless configured), so 4 MiB leaves room for any sane setting
/// while a forged frame header cannot make us allocate more.
pub const DECOMPRESSED_PAYLOAD: usize = 4 << 20;

/// How much less is read at a time without the lock file: in 3 ms what otherwise takes 10 ms. A
/// batch during which strfry commits twice is read again, in half the time, and two commits of a
/// busy relay are some milliseconds apart. Less at a time would cost more where strfry is idle.
pub const LESS_WITHOUT_LOCK: usize = 3;

/// A record that is copied out of its pages is never larger. As [`DECOMPRESSED_PAYLOAD`].
pub const COPIED_RECORD: usize = 4 << 20;

/// Copies of pages that one batch leaves to the next, for as long as strfry commits nothing: 4 MiB
/// of usual pages, so that looking up takes the upper ones from there.
pub const COPIED_PAGES: usize = 1_024;

/// Pages of the map that are known to be whole, at 8 bytes each: enough for the pages above the
/// leaves of a million events and for 500 lookups at random. Twice that, because the usual
/// allocators take 256 KiB from the kernel as they are: zeros that cost nothing until one is used.
pub const CHECKED_PAGES: usize = 32_768;
