//! `doctor` on a healthy node, and on nodes of which each has one thing broken: what it finds, and
//! what it says is to be done.

#[path = "../support/mod.rs"]
mod support;

mod broken_database;
mod broken_files;
mod broken_peers;
mod broken_strfry;
mod checked;
mod healthy;
