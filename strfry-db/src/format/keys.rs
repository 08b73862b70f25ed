//! The keys of strfry's database: levIds, and how those of the indexes are put together.

use crate::nostr::{EventId, Pubkey};

/// strfry's local number of an event: the auto-increment key of table `Event`.
pub type LevId = u64;

/// Key of `Event__id`: id, created_at.
pub fn id_key(id: &EventId, created_at: u64) -> [u8; 40] {
    string_uint64(id.as_bytes(), created_at)
}

/// Key of `Event__pubkey`: pubkey, created_at.
pub fn pubkey_key(pubkey: &Pubkey, created_at: u64) -> [u8; 40] {
    string_uint64(pubkey.as_bytes(), created_at)
}

/// Key of `Event__pubkeyKind`: pubkey, kind, created_at.
pub fn pubkey_kind_key(pubkey: &Pubkey, kind: u64, created_at: u64) -> [u8; 48] {
    let mut key = [0; 48];
    key[..32].copy_from_slice(pubkey.as_bytes());
    key[32..].copy_from_slice(&kind_key(kind, created_at));
    key
}

/// Key of `Event__kind`: kind, created_at.
pub fn kind_key(kind: u64, created_at: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&kind.to_ne_bytes());
    key[8..].copy_from_slice(&created_at.to_ne_bytes());
    key
}

/// Key of `Event__tag`: tag name, tag value as packed, created_at.
pub fn tag_key(name: u8, value: &[u8], created_at: u64) -> Vec<u8> {
    [&[name], value, &created_at.to_ne_bytes()].concat()
}

/// Key of `Event__replace`: pubkey, value of the first `d` tag, kind.
pub fn replace_key(pubkey: &Pubkey, d_tag: &[u8], kind: u64) -> Vec<u8> {
    [pubkey.as_bytes().as_slice(), d_tag, &kind.to_ne_bytes()].concat()
}

/// [`replace_key`] where there is no `d` tag, as of profiles.
pub(crate) fn replace_key_without_d_tag(pubkey: &Pubkey, kind: u64) -> [u8; 40] {
    string_uint64(pubkey.as_bytes(), kind)
}

fn string_uint64(bytes: &[u8; 32], integer: u64) -> [u8; 40] {
    let mut key = [0; 40];
    key[..32].copy_from_slice(bytes);
    key[32..].copy_from_slice(&integer.to_ne_bytes());
    key
}
