//! A native companion to the Nostr relay strfry.

pub mod import;
pub mod node;
pub mod nostr;
pub mod strfry_db;
pub mod profile;
pub mod report;
