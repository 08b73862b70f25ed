//! Refuses to build with the feature `lmdb` and another LMDB than the one that strfry links.
//!
//! Cargo takes patches from the workspace that is built alone, so a program that uses this crate
//! has to name the patch itself. Forgotten, everything would compile, and no database would open.

use std::env;
use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=DEP_LMDB_RELEASE_LOCK_VERSION");
    if env::var_os("CARGO_FEATURE_LMDB").is_none()
        || env::var_os("DEP_LMDB_RELEASE_LOCK_VERSION").is_some()
    {
        return;
    }
    let manifest = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let beside = Path::new(&manifest).join("../lmdb-release");
    let path = match beside.canonicalize() {
        Ok(path) => path.display().to_string(),
        Err(_) => "strfry-companion/lmdb-release".to_owned(),
    };
    for line in [
        "the feature `lmdb` needs the LMDB that strfry links. Add these two lines to the Cargo.toml of your workspace:",
        "",
        "[patch.crates-io]",
        &format!("lmdb-master-sys = {{ path = \"{path}\" }}"),
        "",
        "Without the feature, strfry-db reads without strfry's lock file and needs no patch.",
    ] {
        println!("cargo::error={line}");
    }
}
