//! Whether the process may open enough files, asked before threads are started that cannot say so.

use std::io::{self, PipeReader, PipeWriter};

use anyhow::Context;

use super::exit::{OrFail, Result};

/// Pairs of files that must be there to be opened: what tokio needs for its threads (which panics
/// without), the pipes to one strfry and the socket of one peer take 20.
const PAIRS: usize = 16;

/// Refuses to go on if few files can be opened.
pub(super) fn need_open_files() -> Result<()> {
    let pipes: io::Result<Vec<(PipeReader, PipeWriter)>> = (0..PAIRS).map(|_| io::pipe()).collect();
    pipes
        .map(drop)
        .with_context(|| {
            format!("cannot open {} files at once; raise the limit (ulimit -n)", 2 * PAIRS)
        })
        .or_cannot_run()
}
