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

/// Bytes that our side keeps for a peer that does not read what it is sent. The largest message of
/// ours is half of [`LARGEST_FRAME`] in hex, or [`PEERS_MESSAGE`].
pub const UNSENT: usize = 1 << 20;

/// Bytes of a message that any peer may send at any time. Nearly all events are smaller.
pub const SMALL_MESSAGE: usize = 64 << 10;

/// Events of open and ended pages whose ids are kept for one peer, at about 26 bytes each: four
/// pages of the largest size, and again for what has just ended.
pub const PAGE_IDS: usize = 4 * 2_000;

/// Memory for larger messages, all peers together, KiB. A connection that needs some waits for it.
/// With four of the largest 50 peers that compare are as fast as with twelve, and take 12 MiB less.
pub const ROOM_KIB: usize = 8 << 10;

/// Memory for more ids of pages, all peers together, KiB. A peer that needs some when there is none
/// is given up.
pub const PAGE_IDS_KIB: usize = 8 << 10;

/// Conversations at once, each with a connection and up to a few hundred KiB of its own.
pub const CONVERSATIONS: usize = 200;

/// Largest message that is read, bytes. An event of strfry's default size (65,536) whose every
/// character is escaped as `\u00xx` is six times as long; the rest is room for larger settings.
pub const MESSAGE: usize = 2 << 20;

/// Bytes that are read from a connection at once. A large message makes the buffer grow, the more
/// so the more has been read behind it, and it stays as large as it was once.
pub const READ_AT_ONCE: usize = 16 << 10;

/// Messages that are useless (no JSON, unknown subscription, an event that was not asked for or
/// is forged) after which a peer is given up.
pub const USELESS_MESSAGES: u64 = 1_000;

/// Attempts in a row that bring no complete page before a peer is given up.
pub const ATTEMPTS_WITHOUT_PROGRESS: u32 = 4;

/// Attempts to connect to a peer that was never connected and whose answer allows another one
/// (HTTP 503 and the like). A peer that is not reached at all costs one.
pub const CONNECT_ATTEMPTS: u32 = 3;

/// Longest pause that a peer may ask for with a `Retry-After`.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(30);

/// Times that a peer may answer "rate-limited" in a row before its query is given up.
pub const RATE_LIMITED_IN_A_ROW: u32 = 6;

/// Longest pause between two attempts.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A peer has to bring one new event a second over so many time-outs, so that one which drips does
/// not hold up the run.
pub const FLOOR_TIME_OUTS: u32 = 10;

/// Pauses that a peer asks for, and what else is a reason to be silent, in time-outs without any
/// progress between them.
pub const PAUSE_TIME_OUTS: u32 = 2;

/// The floor is measured over no more time than this.
pub const FLOOR_TIME: Duration = Duration::from_secs(300);

/// How many events a query counts for when it has been answered to its end: an answer for a hundred
/// authors who have published nothing is progress, too.
pub const QUERY_WORTH: u64 = 10;

/// Messages that change nothing, such as notices and pings, after which a peer is given up; two more
/// are allowed for each request of ours, whose end some relays confirm.
pub const IDLE_MESSAGES: u64 = 1_000;

/// Comparisons open at once on one connection, to a peer that says that it allows twice as many
/// subscriptions: where nothing is new, those of 1,600 authors take one round trip together.
pub const PARALLEL_COMPARISONS: usize = 16;

/// Queries about one time, for which an overview is worth its two round trips: those that take as
/// many themselves, [`PARALLEL_COMPARISONS`] at once.
pub const OVERVIEW_QUERIES: usize = 3 * PARALLEL_COMPARISONS;

/// Events here that the open comparisons with one peer are about, at 40 bytes each, after which no
/// other is begun. One more may be about a third as many.
pub const ITEMS_COMPARED: usize = 96_000;

/// Until it is looked again whether there is room for another comparison.
pub const LOOK_FOR_ROOM: Duration = Duration::from_millis(200);

/// Requests for events by their ids that are open at once on one connection, beside the others.
/// With 500 ids each and events of 750 bytes that is 1.5 MB under way, enough for 100 ms of
/// latency at 120 Mbit/s, and far below the 32 MiB at which strfry hangs up
/// (`relay.maxPendingOutboundBytes`).
pub const PARALLEL_ID_REQUESTS: usize = 4;

/// The same for all peers together, as far as each has one: more answers than can be verified and
/// imported in a moment would keep each other waiting until they seem late ([`STEAL_AFTER`]).
pub const ID_REQUESTS_IN_ALL: usize = 32;

/// Ids in one filter. strfry 1.1.1 takes 2,047 and returns at most 500 events
/// (`relay.maxFilterLimit`).
pub const IDS_PER_FILTER: usize = 500;

/// Ids that one peer has been found to have and that are not fetched yet, after which it is not
/// asked for more. A message of strfry's brings 15,600 at most (500,000 bytes).
pub const IDS_OF_ONE_PEER: usize = 16_384;

/// The same, after which an answer to a comparison that is under way by then is not taken. Those of
/// [`PARALLEL_SUBSCRIPTIONS`] fit, whatever they bring.
pub const IDS_WAITING: usize = PARALLEL_SUBSCRIPTIONS * IDS_OF_ONE_PEER;

/// Fewer of these ids keep a peer from having nothing to do: then all its comparisons go on at once.
pub const IDS_FOR_COMPARING_IN_PARALLEL: usize = PARALLEL_ID_REQUESTS * IDS_PER_FILTER;

/// The same for all peers together, at about 90 bytes each and 8 more for each peer that has it.
pub const IDS_IN_ALL: usize = 32_768;

/// The same, after which a peer may have only [`IDS_OF_EACH`] waiting: answers that are under way may
/// bring more than was foreseen, and many peers at once far more.
pub const IDS_KEPT: usize = 4 * IDS_IN_ALL;

/// Ids that every peer may have waiting, however many others have: two requests.
pub const IDS_OF_EACH: usize = 2 * IDS_PER_FILTER;

/// Events that came last and are remembered, at least, at 16 bytes each. Older ones are in the
/// database: far fewer are on their way there (14 MiB at most wait for strfry's commit).
/// What a table of 65,536 places takes before it grows.
pub const SETTLED_IDS: usize = 57_344;

/// A peer that has not given an event for so long may be overtaken by another that has it.
pub const STEAL_AFTER: Duration = Duration::from_secs(5);

/// Largest message that a peer takes if it does not say: strfry's default
/// (`relay.maxWebsocketPayloadSize`) is twice as much.
pub const PEERS_MESSAGE: usize = 65_536;

/// Of a message, what is not its payload or its lists: names, subscription, times, brackets.
pub const FRAME_OVERHEAD: usize = 200;

/// Largest first payload of a comparison, in hex digits: 31 ids, or 16 fingerprints, each with a bound
/// of at most 42 bytes. The filter comes in the same message.
pub const FIRST_ROUND: usize = 2_100;

/// Comparisons of which nothing is known here, so that the peer names all that it has, at once.
pub const BLIND_COMPARISONS: usize = 2;

/// Seconds in which a hundred authors publish no more than may wait: those of the hourly run, whose
/// windows begin a day or two ago.
pub const SHORT_WINDOW: u64 = 3 * 86_400;

/// Events older than that when a fetch began, seconds, are not published while it is under way.
pub const PUBLISHED_LATE: u64 = 60;

/// Bytes of a negentropy message. The protocol forbids less.
pub const SMALLEST_FRAME: usize = 4_096;
/// Half of strfry's own largest (500,000), whatever a peer says that it takes: more saves few rounds.
pub const LARGEST_FRAME: usize = 250_000;

/// Rounds of one comparison, beside those that its ids need. Each cuts the ranges that differ into
/// 16 parts, so 6 rounds do for 16 million events.
pub const ROUNDS: usize = 64;

/// Ids on both sides that allow one more round: a quarter of what fits into the smallest frame,
/// where the rest may be fingerprints.
pub const IDS_OF_A_ROUND: usize = SMALLEST_FRAME / 32 / 4;

/// Ids that a peer may name in one comparison: strfry compares no more events at once
/// (`relay.negentropy.maxSyncEvents`).
pub const IDS_OF_A_COMPARISON: usize = 1_000_000;

/// Parts of queries that may wait beside the queries themselves; what would be divided further is
/// asked page by page. Each division of a part leaves one more, so these are 64 divisions of 64
/// parts in a row.
pub const PARTS_WAITING: usize = 64;

/// Parts that could not be had, after which nothing more is asked of a peer.
pub const GAPS: usize = 1_000;

/// Times that what a peer calls too large is split in one fetch: down to single days of ten years.
pub const SPLITS: u32 = 4_000;

/// Times that a comparison is begun again before the peer is asked page by page instead.
pub const COMPARISONS: u32 = 2;

/// Events that a peer says it has and does not give, after which nothing that it says it has is
/// believed, and it is asked page by page.
pub const NOT_GIVEN: usize = 1_000;

/// Largest document in which a relay says what it is (NIP-11); they are about 2 KB.
pub const INFO_BYTES: usize = 64 << 10;

/// For that document, which is only a hint.
pub const INFO_TIME_OUT: Duration = Duration::from_secs(3);

/// Most events of a page that a relay is asked for when it says that it gives so many. More would
/// bring little: a page of this size lasts much longer than asking for it.
pub const LARGEST_PAGE: u64 = 2_000;

/// Filters in one request, where a relay that gives few events for each does not say how many
/// it takes.
pub const FILTERS: usize = 10;

/// Smallest message that a relay is believed to take at most: the ids of a small page, or the
/// authors of a small batch.
pub const SMALLEST_MESSAGE: usize = 4_096;

/// Bytes of an id or a pubkey in a filter: 64 digits, the quotes and a comma.
pub const KEY_IN_FILTER: usize = 67;

/// Bytes of a kind in a filter: five digits and a comma (NIP-01: up to 65535).
pub const KIND_IN_FILTER: usize = 6;

/// Kinds of a small question that tells whether a relay has something.
pub const CONTROL_KINDS: usize = 3;

/// Authors of the smaller of these questions.
pub const CONTROL_AUTHORS: usize = 10;

/// Events of a page, each older than the one before it, that come in this order by chance once in
/// 300,000 pages: fewer do not show that a relay gives the newest first.
pub const FALLS: usize = 8;

/// Seconds before which a peer that has given nothing is asked for anything, beside all time: relays
/// that are in use have something of a month, and those that answer long questions with nothing
/// are not known to draw the line below it.
pub const RECENT: u64 = 30 * 86_400;

/// Events that a peer which has given nothing is asked for, whatever they are.
pub const SAMPLES: u64 = 5;

/// Events that a peer had and has not any more, after which it is not looked for another one that
/// shows whether its "nothing" is true.
pub const LOST_SAMPLES: u32 = 1;

/// Queries answered with nothing, after which it is looked whether that is true before others are
/// asked.
pub const DOUBTS: usize = 64;

/// Refusals of the smallest question, for different authors or kinds, after which a peer that has
/// answered nothing is asked nothing more, and one that refuses a kind is not asked for that kind.
pub const SMALLEST_REFUSALS: usize = 2;

/// Challenges in one fetch after which what was empty before is asked for again. After one more it is
/// a gap: a relay may end each connection before it knows us.
pub const ASKED_AGAIN: u32 = 4;

/// A page of fewer events was not cut: no relay is known to give so few at once. Without such a bound
/// one of which nobody wants more than an event or two could never show that these are all.
pub const SMALLEST_CAP: usize = 5;

/// Questions of one fetch to a peer that is asked about a part of the time at once: fifty years in
/// pieces of two weeks, for two batches of authors. The rest is a gap, which the next fetch goes on
/// with.
pub const TIME_PIECES: usize = 2_600;

/// The same in a row for one author and kind, after which all older time is one gap.
pub const REFUSALS_IN_A_ROW: usize = 4;

/// Bytes that the id of a page's event takes: itself and its second, in a table that is half empty.
pub const BYTES_OF_PAGE_ID: usize = 34;

/// Sizes of questions that are remembered for what they have shown, none of them within another.
pub const PROVEN: usize = 64;

/// Pieces of queries in one fetch whose end keeps a peer from being taken for silent.
pub const PIECES: usize = 10_000;

/// How long an answer is waited for after a text for people, which may be the refusal.
pub const AFTER_A_NOTICE: Duration = Duration::from_millis(250);

/// How long a peer that has given nothing at all is listened to after its last answer: some relays
/// announce an end before they look.
pub const LINGER: Duration = Duration::from_millis(1_500);

/// Messages that are read from a connection after it has ended for what we send: more than the
/// answers that were under way, of four pages and four requests by id.
pub const LAST_WORDS: usize = 5_000;

/// How long they are read for: they have arrived already.
pub const LAST_WORDS_TIME: Duration = Duration::from_millis(500);

/// Largest trace of conversations, bytes: those of a first run over a million events fit, and a
/// peer that sends without end does not fill the disk.
pub const TRACE_BYTES: u64 = 1 << 30;

/// Bytes of a trace that wait for the disk, after which lines are lost: a few of the largest
/// messages.
pub const TRACE_WAITING: usize = 8 << 20;
