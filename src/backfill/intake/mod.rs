//! From a peer's events to the import: a first look where they come in, then the checks.

mod checks;
mod entrance;

pub(super) use checks::{Checked, Checks, Forgeries};
pub(super) use entrance::{Account, Entrance, Rules};
