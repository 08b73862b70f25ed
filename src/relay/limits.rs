//! The numbers of a conversation with a peer, each with its reason.

use std::time::Duration;

/// Events asked for in one page. strfry 1.1.1 returns at most 500 (`relay.maxFilterLimit`), and
/// most relays return at least as many.
pub const PAGE: u64 = 500;

/// A page of fewer events was not cut by a relay's limit on events. No relay is known to allow
/// fewer; a smaller border would cost two more requests for every quiet author.
pub const SMALLEST_PAGE_LIMIT: usize = 20;

/// Pages in a row that may bring new events without reaching an older second. A relay needs one;
/// a few more allow for one that shuffles its answers; an endless supply is an attack.
pub const PAGES_IN_ONE_SECOND: usize = 20;

/// Events of one page after which it is taken for endless. Relays cap an answer at some thousands
/// even if they do not keep to the limit they are given; the ids of a page are kept in memory.
pub const EVENTS_IN_ONE_PAGE: usize = 20_000;

/// Addresses of one host that are tried; a host name can have any number.
pub const ADDRESSES: usize = 6;

/// From one address of a host to the next (RFC 8305, "Connection Attempt Delay").
pub const BETWEEN_ADDRESSES: Duration = Duration::from_millis(250);

/// Authors in one filter. strfry takes 2,047, others a few hundred; small batches also keep a REQ
/// (67 bytes an author) far below strfry's limit for a message, 131,072 bytes.
pub const AUTHORS_PER_FILTER: usize = 100;

/// Subscriptions open at once on one connection: enough to hide the network's latency, few enough
/// for every relay (strfry allows 200, the strictest known about 10).
pub const PARALLEL_SUBSCRIPTIONS: usize = 4;

/// Largest message that is read, bytes. An event of strfry's default size (65,536) whose every
/// character is escaped as `\u00xx` is six times as long; the rest is room for larger settings.
pub const MESSAGE: usize = 2 << 20;

/// Messages that are useless (no JSON, unknown subscription, an event that was not asked for or
/// is forged) after which a peer is given up.
pub const USELESS_MESSAGES: u64 = 1_000;

/// Attempts in a row that bring no complete page before a peer is given up.
pub const ATTEMPTS_WITHOUT_PROGRESS: u32 = 4;

/// Times that a peer may answer "rate-limited" in a row before its query is given up.
pub const RATE_LIMITED_IN_A_ROW: u32 = 6;

/// Longest pause between two attempts.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A page takes at most this many times the time-out, so that a peer which drips one event at a
/// time does not hold up the run.
pub const SLOWEST_PAGE: u32 = 10;
