//! Deployments as they are found: strfry and its files anywhere, in a container or beside it, a lock
//! file that cannot be shared, no node at all.

#[path = "../support/mod.rs"]
mod support;

mod commands;
mod confs;
mod first_start;
mod hourly;
mod locks;
mod namespaces;
mod operator;
mod places;

use std::path::Path;

use support::{NO_STRFRY, real_strfry, strfry_bin};

/// Runs with the stand-in, and with the strfry that `STRFRY_BIN` names.
fn with_each_strfry(test: impl Fn(&Path)) {
    test(&strfry_bin());
    match real_strfry() {
        Some(strfry) => test(&std::path::absolute(strfry).unwrap()),
        None => println!("{NO_STRFRY}"),
    }
}
