//! The program as a process: what it prints, writes and exits with.

#[path = "../support/mod.rs"]
mod support;

mod adopt;
mod bad_database;
mod bad_files;
mod bad_strfry;
mod bad_usage;
mod bench;
mod configured;
mod exports;
mod few_files;
mod figures;
mod help;
mod history;
mod listings;
mod namespaces;
mod naming;
mod nobody_reads;
mod node_files;
mod old_names;
mod profiles;
mod profiles_file;
mod profiles_refused;
mod questions;
mod replaced_files;
mod running;
mod said;
mod scan;
mod seen;
mod slots;
mod small_node;
mod soak;
mod terminal;
mod told_to_end;
mod verifies;

use support::wait;
