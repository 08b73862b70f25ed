//! The program as a process: what it prints, writes and exits with.

#[path = "../support/mod.rs"]
mod support;

mod listings;
mod profiles;
mod said;
