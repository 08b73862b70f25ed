//! How much strfry is given at once.

use std::time::Duration;

use clap::Args;

use super::help::STRFRY;
use super::node::NodeArguments;
use super::values::step;
use crate::import::{CommitTime, Window};

#[derive(Debug, Clone, Args)]
pub(super) struct CommitArguments {
    /// How long a commit of strfry may take [default: 1s while a relay has the database open]
    ///
    /// Nobody else can write meanwhile. Larger commits write less and take less time in all. While
    /// nobody else has the database open, they are as large as memory allows.
    #[arg(long, value_name = "TIME", help_heading = STRFRY, hide_short_help = true,
          value_parser = step)]
    max_commit_time: Option<Duration>,
    /// Make commits as large as memory allows, also beside a relay
    ///
    /// A relay that starts later is given way.
    #[arg(long, help_heading = STRFRY, hide_short_help = true, conflicts_with = "max_commit_time")]
    bulk: bool,
}

impl CommitArguments {
    /// How much strfry is given, and where that is remembered.
    pub(super) fn window(&self, node: &NodeArguments) -> Window {
        let commits = match self.max_commit_time {
            Some(longest) => CommitTime::AtMost(longest),
            None if self.bulk => CommitTime::Bulk,
            None => CommitTime::Considerate,
        };
        Window { spool: node.paths().state_dir().to_owned(), commits }
    }
}
