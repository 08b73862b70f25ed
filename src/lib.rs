//! A native companion to the Nostr relay strfry.

pub mod nostr;
