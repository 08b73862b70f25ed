//! A native companion to the Nostr relay strfry.

pub mod backfill;
pub mod cli;
pub mod import;
pub mod node;
pub mod nostr;
pub mod profile;
pub mod relay;
pub mod report;
pub mod strfry_db;
