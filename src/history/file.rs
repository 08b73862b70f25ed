//! The file of the history: a line is added to its end, files that have grown are rotated, and the
//! newest lines are read back.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::run::Run;
use crate::backfill::{Summary, VERSION};
use crate::files;

/// The file is rotated when a run finds it larger than this many bytes: some hundred runs.
const ROTATED_PAST: u64 = 4 << 20;
/// Rotated files that are kept, as `.1` (newest) to `.3`.
pub(crate) const HISTORY_KEPT: u8 = 3;
/// What is read of all of them together, in bytes, and what is written at most.
const READ_AT_MOST: u64 = (HISTORY_KEPT as u64 + 1) * ROTATED_PAST;
/// A longer line is none of this program's.
const LONGEST_LINE: usize = 1 << 20;
/// Pubkeys without a profile that a line names.
const PUBKEYS_NAMED: usize = 2_000;
/// Peers that a line tells of if it would be too long with all of them.
const PEERS_NAMED: usize = 100;

/// Why a run is not in the history.
#[derive(Debug, thiserror::Error)]
#[error(
    "the history lacks this run: cannot {step} {}: {source}{}", path.display(), advice(source)
)]
pub struct AppendError {
    /// What was tried, such as `write to`.
    pub step: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// Why the history cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the history {}: {source}{}", path.display(), advice(source))]
pub struct ReadError {
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// What to do, unless the error says it.
fn advice(error: &io::Error) -> &'static str {
    match files::is_refusal(error) {
        true => "",
        false => "; check its permissions, or name another directory with --history",
    }
}

/// What the files tell.
#[derive(Debug, Default, PartialEq)]
pub struct History {
    /// Each run with its line, the newest one first.
    pub runs: Vec<(Run, String)>,
    /// Lines that are not the summary of a run, or of another version of this program.
    pub skipped: u64,
}

/// Adds a run to the end of the file, and has it on the disk. The directory must be there.
///
/// # Errors
/// [`AppendError`]: the run is not in the history, or that is not known to be on the disk.
pub fn append(path: &Path, summary: &Summary) -> Result<(), AppendError> {
    let failed = |step| move |source| AppendError { step, path: path.to_owned(), source };
    let line = line_of(summary).map_err(failed("put it in a line of"))?;
    let file = files::open_to_append(path).map_err(failed("open"))?;
    let mut file = match file.metadata().map_err(failed("look at"))?.len() {
        0..=ROTATED_PAST => file,
        _ => {
            files::rotate(path, HISTORY_KEPT).map_err(|error| failed("rotate")(error.source))?;
            files::open_to_append(path).map_err(failed("open"))?
        }
    };
    let line = match ends_within_a_line(path).map_err(failed("look at"))? {
        true => format!("\n{line}\n"),
        false => format!("{line}\n"),
    };
    file.write_all(line.as_bytes()).map_err(failed("write to"))?;
    file.sync_all().map_err(failed("flush"))
}

/// A run that was killed, or a disk that was full, may have left half a line.
fn ends_within_a_line(path: &Path) -> io::Result<bool> {
    let mut file = files::open_to_read(path)?;
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

/// The summary without what only this one run is interesting for, and no longer than is read back.
fn line_of(summary: &Summary) -> io::Result<String> {
    let mut kept = summary.clone();
    kept.superseded.clear();
    kept.deleted.clear();
    kept.profiles.missing_pubkeys.truncate(PUBKEYS_NAMED);
    let line = serde_json::to_string(&kept)?;
    if line.len() <= LONGEST_LINE {
        return Ok(line);
    }
    let peers = kept.peers.len() + kept.fallback.len();
    kept.profiles.missing_pubkeys.clear();
    kept.reasons.clear();
    kept.errors.truncate(PEERS_NAMED);
    kept.errors.push(format!("too long for the history: it names {PEERS_NAMED} of {peers} peers"));
    kept.peers.truncate(PEERS_NAMED);
    kept.fallback.clear();
    for peer in &mut kept.peers {
        peer.gaps.truncate(1);
        peer.withheld.clear();
    }
    let line = serde_json::to_string(&kept)?;
    if line.len() > LONGEST_LINE {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(line)
}

/// Reads the newest runs, `most` at most. Where there is no file there are none.
///
/// # Errors
/// [`ReadError`]
pub fn read(path: &Path, most: usize) -> Result<History, ReadError> {
    let mut history = History::default();
    let mut left = READ_AT_MOST;
    let rotated = (1..=HISTORY_KEPT).map(|number| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    });
    for path in std::iter::once(path.to_owned()).chain(rotated) {
        if left == 0 || history.runs.len() >= most {
            break;
        }
        match files::open_to_read(&path).and_then(|mut file| newest_bytes(&mut file, left)) {
            Ok(bytes) => {
                left = left.saturating_sub(bytes.len() as u64);
                history.add(&bytes, most);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(ReadError { path, source }),
        }
    }
    Ok(history)
}

/// The last lines of a file, no more than so many bytes.
fn newest_bytes(file: &mut File, most: u64) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
    file.take(most).read_to_end(&mut bytes)?;
    if length > most {
        // The first line may have lost its beginning.
        let end = bytes.iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |at| at + 1);
        bytes.drain(..end);
    }
    Ok(bytes)
}

impl History {
    fn add(&mut self, bytes: &[u8], most: usize) {
        for line in bytes.rsplit(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            if self.runs.len() >= most {
                return;
            }
            match run_of(line) {
                Some(run) => self.runs.push(run),
                None => self.skipped += 1,
            }
        }
    }
}

fn run_of(line: &[u8]) -> Option<(Run, String)> {
    let line = std::str::from_utf8(line).ok().filter(|line| line.len() <= LONGEST_LINE)?;
    let run: Run = serde_json::from_str(line).ok()?;
    let is_sound = run.version == VERSION && run.seconds.is_finite() && run.seconds >= 0.0;
    is_sound.then(|| (run, line.to_owned()))
}

#[cfg(test)]
mod tests;
