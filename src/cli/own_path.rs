//! Where this program is called, for files that start it later.

use std::path::{Path, PathBuf};

use anyhow::Context;

use super::exit::{OrFail, Result};
use crate::node::paths;

/// Where this program is called: by a link, perhaps, that leads to another version one day.
pub(super) fn own_path() -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find this program").or_cannot_run()?;
    let called = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    let called = if called.components().count() > 1 {
        std::path::absolute(called).ok()
    } else {
        let path = std::env::var_os("PATH");
        paths::in_path(Path::new(&called), path.as_ref()).filter(|found| found.is_absolute())
    };
    let is_own = |path: &PathBuf| path.canonicalize().ok() == own.canonicalize().ok();
    Ok(called.filter(is_own).unwrap_or(own))
}
