//! The read side of the library, on databases of the real strfry and on broken ones.

#[path = "../support/mod.rs"]
mod support;

mod address_space;
mod damaged;
mod export;
mod get;
mod golden;
mod live;
mod mutations;
mod optimistic;
mod random_filters;
mod real_relay;
mod refused;
mod replaced;
mod scan;
mod scan_live;
mod truncated;
mod verified;
