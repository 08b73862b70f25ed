//! The read side of the library, on databases of the real strfry and on broken ones.

#[path = "../support/mod.rs"]
mod support;

mod address_space;
mod damaged;
mod export;
mod golden;
mod live;
mod lookups;
mod mutations;
mod random_filters;
mod real_relay;
mod refused;
mod replaced;
mod scan;
mod scan_live;
mod truncated;
mod unlocked;
mod verified;
