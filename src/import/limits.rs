//! The numbers of importing, each with its reason.

use std::time::Duration;

/// strfry takes next to no input and commits nothing for so long: it hangs. A commit of its largest
/// batch takes seconds even on slow disks. What it says meanwhile is no sign of life.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes that strfry must read within that time, or all that is there: the part of a pipe that
/// Linux gives free at once. One that reads byte by byte would otherwise never count as hanging.
pub const LEAST_READ: u64 = 4 << 10;

/// For one that hangs, between the end of its input and SIGTERM: it may still have been waiting for
/// the database's lock, and commit what it has.
pub const PATIENCE_AFTER_END_OF_INPUT: Duration = Duration::from_secs(10);

/// For what an executable in strfry's place has left running when it exits, such as a strfry in the
/// background: it, too, must take input or commit, and may not hold anybody up by keeping strfry's
/// standard error open.
pub const PATIENCE_AFTER_EXIT: Duration = Duration::from_secs(2);

/// After SIGTERM, before SIGKILL. strfry does not catch SIGTERM, and LMDB forgets an unfinished
/// transaction, so this only bridges a slow disk, and a wrapper that cleans up.
pub const PATIENCE_AFTER_SIGTERM: Duration = Duration::from_secs(1);

/// After SIGKILL. A process that waits for a dead disk ends when that answers, and not before.
pub const PATIENCE_AFTER_SIGKILL: Duration = Duration::from_secs(1);

/// Between two looks whether strfry has exited by force.
pub const EXIT_POLL: Duration = Duration::from_millis(5);

/// Between two looks whether it has read its input, or has exited by itself: at first, and once it
/// takes longer. It tells neither by itself.
pub const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
/// See [`SHORTEST_PAUSE`].
pub const LONGEST_PAUSE: Duration = Duration::from_millis(10);

/// Longest wait without a look at the clock, and at whether the run is told to stop.
pub const TICK: Duration = Duration::from_millis(50);

/// Longest time, while strfry takes nothing, without a look into the database whether it has
/// committed something.
pub const LOOK: Duration = Duration::from_secs(1);

/// Bytes gathered before they are written to strfry: the size of a pipe on Linux.
pub const WRITE_BUFFER: usize = 64 << 10;

/// Most events that have been given to strfry, or wait for it, and are not settled. What is
/// remembered of so many takes 16 MiB in an import and 28 in a backfill, and with those that are
/// being checked they fit into a hash map of 2^18 buckets.
pub const MOST_UNSETTLED: usize = 13 << 14;

/// Most events that strfry commits together (`--write-batch`): while it does, it has those of the
/// next commit.
pub const WRITE_BATCH: usize = MOST_UNSETTLED / 2;

/// Events of a commit before the first one has shown what commits cost here; strfry is given twice
/// as many, and soon shows it.
pub const FIRST_ALLOWANCE: usize = 1_000;
/// The same beside a relay, which waits meanwhile.
pub const FIRST_ALLOWANCE_BESIDE_RELAY: usize = 4_000;

/// Most events that a strfry may hold, where memory is short, if it gets only what cannot be fried:
/// large events, of which the spool has room for some 5,000. Their pages take 80 MiB of what the
/// other strfry leaves free.
pub const MOST_BESIDE: usize = 2_000;

/// Bytes of events that strfry is given before any of them is found in this database.
pub const FIRST_BYTES: usize = 14 << 20;

/// Fewer are not given, however long a commit takes: most of that is then not of their number.
pub const LEAST_ALLOWANCE: usize = 1_000;

/// LMDB 0.9, `mdb.c`: a transaction keeps at most so many bytes of pages that it has changed
/// (`MDB_IDL_UM_MAX` of 4 KiB).
pub const DIRTY_BYTES: u64 = 512 << 20;

/// How many of these an event takes at most: strfry commits 10,000 among five million with 393 MiB.
pub const DIRTY_BYTES_PER_EVENT: u64 = 40 << 10;

/// While somebody waits for it, a commit may be so many times as large as the one before.
pub const GROWTH: usize = 4;

/// If a commit of 1,000 events or more takes longer than this for each, larger commits save time
/// for each event. In commits of 2,000, an event takes 20 to 27 µs in an empty database, 95 to 170
/// among a million, 300 among five million.
pub const DEAR_EVENT: Duration = Duration::from_micros(50);

/// Where commits are dear, a commit that may take n times as long may hold n to this power times the
/// events: among five million, 2,000 take 0.6 s and 100,000 take 6 to 8.
pub const POWER_WHERE_DEAR: f64 = 1.5;
/// But it may hold no more than this many times n: even if each event took as long as in the small
/// commit, it would end within three quarters of [`PATIENCE`].
pub const MOST_WHERE_DEAR: f64 = 3.0;

/// A strfry that holds more events than these is not replaced by one that gathers events for longer
/// or less long: until it had committed them, nothing could be given.
pub const FEW_HELD: usize = 4_000;

/// How long a commit may keep a relay from writing, unless the operator says.
pub const COMMIT_TIME: Duration = Duration::from_secs(1);

/// Part of [`PATIENCE`] that a commit may take while nobody waits for it. One that holds the events
/// of two takes twice as long.
pub const PATIENCE_PER_COMMIT: u32 = 4;

/// Events between two notes of when they were given.
pub const EVENTS_PER_NOTE: u64 = 64;

/// Commits that are remembered until they are looked at.
pub const REMEMBERED_COMMITS: usize = 1_000;

/// Texts of unsettled events that stay in memory: some 3,500 ordinary events, so that a small run
/// makes no file.
pub const TEXTS_IN_MEMORY: usize = 4 << 20;

/// Bytes of a piece of the file for the others, and how many pieces it has: enough for
/// [`MOST_UNSETTLED`] ordinary events. strfry holds as much in its memory.
pub const SPOOL_PIECE: usize = 8 << 20;
/// See [`SPOOL_PIECE`].
pub const SPOOL_PIECES: usize = 32;

/// Bytes gathered before they are written to that file.
pub const SPOOL_BUFFER: usize = 64 << 10;

/// How long strfry gathers events before a commit that is not full (`--debounce-millis`). Its own
/// second is a second in which it does nothing.
pub const DEBOUNCE: Duration = Duration::from_millis(100);
/// How long it does so where commits are dear: two cores check most of [`WRITE_BATCH`] meanwhile.
pub const DEBOUNCE_DEAR: Duration = Duration::from_secs(2);

/// Unconfirmed events that strfry is through with after which the database is asked.
pub const EVENTS_PER_CONFIRMATION: u64 = 1_000;

/// Events that are looked up at once: those that are not there are read again together, and what is
/// settled is handed on before the next.
pub const EVENTS_CONFIRMED_AT_ONCE: usize = 4_000;

/// Events by which a first look sees whether any of those that strfry holds are in the database.
pub const EVENTS_TRIED: usize = 256;

/// Children that may die in one run. Each event that kills strfry costs up to six, until it stands
/// alone; a strfry that dies whatever it is given is started no more often than this.
pub const MOST_DEATHS: u32 = 20;

/// Pieces into which the events are cut among which one kills strfry: of [`MOST_UNSETTLED`], that one
/// stands alone after five cuts.
pub const PIECES: usize = 16;

/// Lines of strfry's log that an error quotes.
pub const QUOTED_LINES: usize = 10;

/// Columns of each of these lines that an error quotes: strfry's own messages, and a rejection.
pub const QUOTED_COLUMNS: usize = 400;

/// For the last words of a strfry that has exited to be read; they are there already, unless
/// something that it has left running keeps its log open.
pub const LAST_WORDS: Duration = Duration::from_millis(500);

/// Longest line of strfry's log that is kept, bytes. A rejection quotes 200 characters of JSON.
pub const LOG_LINE: usize = 2_000;

/// Bytes of strfry's log that are read at once: the size of a pipe on Linux.
pub const LOG_BUFFER: usize = 64 << 10;

/// How often the thread that reads strfry's log looks whether anybody still listens.
pub const LOG_POLL: Duration = Duration::from_millis(100);

/// While strfry says more than can be read at once, the thread that reads its log rests so many
/// times as long as it has worked.
pub const LOG_REST: u32 = 3;

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

/// How far the threads that check events stand behind others (`man 2 nice`; 0 to 19).
pub const NICENESS_OF_CHECKS: i32 = 10;

/// Events that the self-check encodes anew: about a millisecond.
pub const SELF_CHECK_EVENTS: u64 = 64;

/// A line of input may be longer than the event in it: a character can be written in six
/// (`\u0041`), and strfry drops keys that it does not know.
pub const LINE_BYTES_PER_EVENT_BYTE: usize = 6;
/// See [`LINE_BYTES_PER_EVENT_BYTE`].
pub const LINE_BYTES_OVER: usize = 1 << 20;

/// Superseded and deleted events of which a summary names the event that is to blame.
pub const EXAMPLES: usize = 20;
