//! The stand-in for the strfry executable, against what the real strfry did and does.

#[path = "../support/mod.rs"]
mod support;

mod differential;
mod faults;
mod golden;
mod importing;
mod odd_events;
mod random_events;
mod relay_rules;
