//! Classes of kinds, with strfry's borders.

/// Profile (NIP-01).
pub const PROFILE: u64 = 0;
/// Short text note (NIP-01).
pub const TEXT_NOTE: u64 = 1;
/// Encrypted direct message (NIP-04).
pub const DIRECT_MESSAGE: u64 = 4;
/// Deletion request (NIP-09).
pub const DELETION: u64 = 5;
/// Gift wrap around a private message (NIP-59).
pub const GIFT_WRAP: u64 = 1059;
/// Gift wrap that relays do not keep (NIP-59).
pub const EPHEMERAL_GIFT_WRAP: u64 = 21_059;
/// Relay list of an author (NIP-65).
pub const RELAY_LIST: u64 = 10_002;

/// Only the newest event of an author counts.
/// strfry 1.1.1, `isReplaceableKind`: NIP-01's kinds and 41.
pub const fn is_replaceable(kind: u64) -> bool {
    matches!(kind, 0 | 3 | 41 | 10_000..=19_999)
}

/// Only the newest event of an author and `d` tag counts.
/// strfry 1.1.1, `isParamReplaceableKind`.
pub const fn is_addressable(kind: u64) -> bool {
    matches!(kind, 30_000..=39_999)
}

/// Not meant to be stored. strfry 1.1.1, `isEphemeralKind`.
pub const fn is_ephemeral(kind: u64) -> bool {
    matches!(kind, 20_000..=29_999)
}
