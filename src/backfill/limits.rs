//! The numbers of a backfill, each with its reason.

use std::time::Duration;

/// Events that wait to be checked, all peers together: a few batches of the checks.
pub const WAITING_EVENTS: usize = 4 * crate::import::limits::BATCH;

/// Memory of the events that wait to be checked or are being checked, all peers together, KiB.
/// Ordinary events reach the other limit first; this one is for the largest. What has been checked
/// and waits for strfry has a bound of its own (`import::limits::UNCONFIRMED_BYTES`).
pub const WAITING_KIB: usize = 8 << 10;

/// Without progress on a recent batch.
pub const RECENT_TIME_OUT: Duration = Duration::from_secs(30);

/// Without progress on a full sync: the relay has more to search through.
pub const FULL_TIME_OUT: Duration = Duration::from_secs(60);

/// For a connection, from name resolution to the end of the WebSocket handshake.
pub const CONNECT_TIME_OUT: Duration = Duration::from_secs(10);

/// Before the second attempt with a peer.
pub const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Largest number of days that can be asked for: a hundred years.
pub const DAYS: u32 = 36_500;

/// Events that are compared with a peer at once, at 40 bytes each; more are compared in parts. strfry
/// compares a million (`relay.negentropy.maxSyncEvents`).
pub const COMPARED_AT_ONCE: usize = 32_000;

/// Sets of events that are kept for peers that are still to be compared with: one for each
/// comparison that a peer makes at once.
pub const KEPT_SETS: usize = crate::peer::limits::PARALLEL_COMPARISONS;

/// Events in these sets, at 40 bytes each, the latest set left out.
pub const KEPT_ITEMS: usize = crate::peer::limits::ITEMS_COMPARED;

/// Queries for which is looked in one walk, at up to 1.5 KiB each: those of 100,000 pubkeys.
pub const WINDOW_QUERIES: usize = 4_096;

/// Events of such a walk that are kept, at 40 bytes each: those of an hourly run.
pub const WINDOW_ITEMS: usize = 100_000;

/// So many events of a query are kept in any case: a comparison opens with their ids.
pub const FEW_ITEMS: usize = 31;

/// Slices of time, in which all cores walk.
pub const WINDOW_SLICES: u64 = 64;

/// Events that a walk passes, about half a microsecond each, while one author's events of one kind are
/// looked for in an index.
pub const EVENTS_WALKED_IN_A_DESCENT: u64 = 2;

/// The same, while an event is read that an index leads to: as a rule it is in a page of its own.
pub const EVENTS_WALKED_IN_A_READ: u64 = 10;

/// Authors whose events are counted to tell how many all have: about a millisecond.
pub const AUTHORS_SAMPLED: usize = 64;

/// Events whose headers are looked up at once when a peer and the database are compared.
pub const COMPARED_HEADERS: usize = 1_000;

/// The same, if fewer have come: a peer that gives few makes progress, too.
pub const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// Peers at a time with which the database is compared, each with a list of its own of what is
/// wanted of it and what it lacks: some MiB. Those that do not answer hold up the others.
pub const COMPARED_PEERS: usize = 8;

/// Ids that a difference names for each side of a peer: 640 KB of JSON. Counts are always exact.
pub const LISTED_IDS: usize = 10_000;

/// Genuine new events, by authors whom the node does not know, that one peer may bring to a run:
/// anybody can make as many of a station's kinds as they like. What 10,000 stations publish, ten
/// events each; of more, a backfill gets the rest the next time.
pub const STRANGERS_EVENTS: u64 = 100_000;

/// The same for a difference, which does not go on the next time where it has ended. Their ids take
/// 32 bytes each.
pub const STRANGERS_COMPARED: u64 = 1_000_000;

/// For one call of the command `ipfs`, which asks a daemon on this machine.
pub const IPFS_TIME_OUT: Duration = Duration::from_secs(10);

/// For one call that closes a tunnel when the run is to stop. What it leaves open, the next backfill
/// closes.
pub const IPFS_CLOSES: Duration = Duration::from_secs(2);

/// For one connection to a tunnel's port on this machine.
pub const IPFS_CONNECT: Duration = Duration::from_secs(1);

/// Between two looks whether it has ended, or whether a tunnel's port is open.
pub const IPFS_POLL: Duration = Duration::from_millis(20);

/// Bits in which it is remembered which events peers have given: 2 MiB.
pub const SEEN_BITS: usize = 1 << 24;

/// If a check takes longer than this, we keep the peer waiting.
pub const CHECKS_ARE_LATE: Duration = Duration::from_secs(1);

/// Looks into the database for peers at once: each takes a thread and the memory for what it finds.
pub const LOOKUPS_AT_ONCE: usize = 2;

/// Events here that all comparisons together are about, at 40 bytes each.
pub const ITEMS_IN_ALL: usize = 500_000;

/// Longest time of a run: one that is started every hour has ended by then.
pub const MAX_TIME: Duration = Duration::from_secs(50 * 60);

/// Write relays of one author that are asked; NIP-65 advises two to four.
pub const RELAYS_OF_ONE_AUTHOR: usize = 4;

/// Write relays of all authors together that are asked, those of most authors first.
pub const RELAYS_OF_ALL_AUTHORS: usize = 30;

/// Seconds before a run for which it is asked again in the next: events are sent to relays late, and
/// clocks differ. A day, as the script's hourly call has always asked for.
pub const OVERLAP: u64 = 86_400;

/// Seconds by which the clock may have been set back since a run noted what is here.
pub const CLOCK_AHEAD: u64 = 3_600;

/// Events that came and are not in the database, and are noted one by one. With more, strfry or its
/// disk is in trouble, and everything is asked for again.
pub const HOLES: usize = 1_000;

/// Parts in which what a peer owes is asked for. Of more, it is asked for all from the first second
/// of any to the last.
pub const OWED_PARTS: usize = 200;

/// Times that peers are asked anew because one of them gave forged events in the place of others.
/// Each time only a peer that had not forged these events before can do so.
pub const ROUNDS_AFTER_FORGERIES: usize = 5;

/// Forged events of one peer in a run after which it is not asked anew: a relay may hold a few whose
/// signatures were never checked.
pub const FORGERIES_OF_AN_HONEST_PEER: usize = 10;
