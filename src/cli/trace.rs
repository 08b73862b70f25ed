//! `--trace-peers`: the file to which every conversation with a peer is written.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::Args;

use super::exit::{Failure, OrFail, Result};
use super::help::WHOM;
use super::node::NodeArguments;
use crate::files::{is_refusal, open_to_append};
use crate::node::Precious;
use crate::peer::Trace;
use crate::report::clean_json;

#[derive(Debug, Clone, Args)]
pub(super) struct Tracing {
    /// Write every message to and from peers to FILE, as JSON lines
    ///
    /// At most 1 GiB, and without what proves who this node is (NIP-42).
    #[arg(long, value_name = "FILE", help_heading = WHOM, hide_short_help = true)]
    trace_peers: Option<PathBuf>,
}

impl Tracing {
    /// The file, if one is named.
    pub(super) fn file(&self) -> Option<&Path> {
        self.trace_peers.as_deref()
    }

    /// Begins the file anew, unless it is one of strfry's, of the node's, or of those that are read.
    pub(super) fn open(
        &self,
        node: &NodeArguments,
        strfry: Option<&Path>,
        read: &[PathBuf],
    ) -> Result<Trace> {
        let Some(path) = &self.trace_peers else { return Ok(Trace::default()) };
        let paths = node.paths();
        let (config, database) = (node.paths().strfry_conf(), node.config().ok().map(|it| it.db));
        let database = database.or_else(|| node.db.clone());
        let database = database.unwrap_or_else(|| paths.default_database());
        let strfry = strfry.map_or_else(|| paths.strfry_bin(), Path::to_owned);
        let precious = Precious::new(paths, &strfry, &config, &database);
        let refuse = || match precious.at(path) {
            Some(what) => Err(Failure::Usage(anyhow!(
                "the trace {} is {what}; name another file with --trace-peers",
                path.display()
            ))),
            None => Ok(()),
        };
        // Before it is opened, too: to close strfry's lock file would give up the locks on it.
        refuse()?;
        let cannot = || format!("cannot write the trace {}", path.display());
        let file = match open_to_append(path) {
            Err(error) if is_refusal(&error) => Err(error).with_context(cannot).or_usage()?,
            file => file.with_context(cannot).or_cannot_run()?,
        };
        refuse()?;
        let opened = file.metadata().with_context(cannot).or_cannot_run()?;
        let is_same = |read: &&PathBuf| {
            fs::metadata(read)
                .is_ok_and(|read| (read.dev(), read.ino()) == (opened.dev(), opened.ino()))
        };
        if let Some(read) = read.iter().find(is_same) {
            return Err(Failure::Usage(anyhow!(
                "the trace {} is also {}, which is read; name another file with --trace-peers",
                path.display(),
                read.display()
            )));
        }
        file.set_len(0).with_context(cannot).or_cannot_run()?;
        Trace::to(file, clean_json).context("cannot start the thread of the trace").or_cannot_run()
    }

    /// Waits a moment for the last lines. What is missing changes no result, and is told once.
    pub(super) fn end(&self, trace: &Trace, warn: impl FnOnce(String)) {
        if let (Some(trouble), Some(path)) = (trace.end(), &self.trace_peers) {
            warn(format!("the trace {} is not complete: {trouble}", path.display()));
        }
    }
}
