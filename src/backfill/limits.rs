//! The numbers of a backfill, each with its reason.

use std::time::Duration;

/// Events that wait to be checked, all peers together: a few batches of the checks.
pub const WAITING_EVENTS: usize = 4 * crate::import::limits::BATCH;

/// Memory of the events that wait to be checked, KiB. Ordinary events reach the other limit first;
/// this one is for the largest.
pub const WAITING_KIB: usize = 16 << 10;

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
