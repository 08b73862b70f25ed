//! The pubkeys that the relay refuses, and an import has to refuse as well.
//!
//! It answers who is refused; it never drops an event itself.

use std::collections::{BTreeSet, HashSet};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::files::{self, FileProblem};
use super::line_reader;
use super::pubkey_list::{MAX_LIST_BYTES, pubkey_at_start_of};
use crate::nostr::Pubkey;

/// Who is refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Blacklist {
    refused: HashSet<Pubkey>,
    /// Pubkeys on the list that live on this node, and so are not refused.
    pub exempted: BTreeSet<Pubkey>,
    /// Lines that are no pubkey.
    pub skipped: usize,
}

/// Why it is not known who is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot read the blacklist {path:?}: {problem}. An import bypasses the relay's own check, so \
     nothing is imported without it: make it readable, or move it away to refuse nobody"
)]
pub struct BlacklistError {
    /// The blacklist.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: FileProblem,
}

impl Blacklist {
    /// Reads the pubkeys at the beginning of each line, hex in any case or npub; the rest of
    /// a line is a remark. No file: nobody is refused. The pubkeys in `exempt` never are.
    ///
    /// # Errors
    /// [`BlacklistError`] when there is a file and it cannot be read to its end.
    pub fn read(path: &Path, exempt: &BTreeSet<Pubkey>) -> Result<Self, BlacklistError> {
        let failed = |problem| BlacklistError { path: path.to_owned(), problem };
        let file = match files::open(path, MAX_LIST_BYTES) {
            // A link that leads nowhere is a list that went missing, not an absent one.
            Err(FileProblem::Missing) if path.symlink_metadata().is_err() => {
                return Ok(Self::default());
            }
            opened => opened.map_err(failed)?,
        };
        let mut blacklist = Self::default();
        line_reader::for_each_line(BufReader::new(file), |line| match pubkey_at_start_of(line) {
            None => {}
            Some(Err(_)) => blacklist.skipped = blacklist.skipped.saturating_add(1),
            Some(Ok(pubkey)) if exempt.contains(&pubkey) => {
                blacklist.exempted.insert(pubkey);
            }
            Some(Ok(pubkey)) => {
                blacklist.refused.insert(pubkey);
            }
        })
        .map_err(|error| failed(error.into()))?;
        Ok(blacklist)
    }

    /// Whether this author's events are refused.
    pub fn contains(&self, pubkey: &Pubkey) -> bool {
        self.refused.contains(pubkey)
    }

    /// How many authors are refused.
    pub fn len(&self) -> usize {
        self.refused.len()
    }

    /// Whether nobody is refused.
    pub fn is_empty(&self) -> bool {
        self.refused.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_pubkey_at_the_start_of_a_line_is_refused_unless_it_lives_here() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("blacklist.txt");
        let [plain, upper, remark, long, own, other] =
            [1, 2, 3, 4, 5, 6].map(|byte| Pubkey::from_bytes([byte << 4 | 0xa; 32]));
        let text = format!(
            "\u{feff}{plain}\r\n {}\n# {other}\n- \"{remark}\", spam since 2024\njunk {other}\n\n{long} {}\n{own}",
            upper.to_string().to_uppercase(),
            "x".repeat(5000),
        );
        let mut text = text.into_bytes();
        text.extend_from_slice(b"\n\xff\xff\n");
        fs::write(&path, text).unwrap();
        let blacklist = Blacklist::read(&path, &BTreeSet::from([own, other])).unwrap();
        assert_eq!(
            blacklist,
            Blacklist {
                refused: HashSet::from([plain, upper, remark, long]),
                exempted: BTreeSet::from([own]),
                skipped: 2,
            }
        );
        assert!(blacklist.contains(&upper) && !blacklist.contains(&own));
        assert_eq!((blacklist.len(), blacklist.is_empty()), (4, false));
    }

    #[test]
    fn no_file_refuses_nobody_but_one_that_cannot_be_read_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("blacklist.txt");
        let read = || Blacklist::read(&path, &BTreeSet::new());
        assert_eq!(read(), Ok(Blacklist::default()));
        symlink("/nowhere/blacklist.txt", &path).unwrap();
        assert_eq!(read().unwrap_err().problem, FileProblem::Missing);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(
            read(),
            Err(BlacklistError { path: path.clone(), problem: FileProblem::NotAFile })
        );
    }
}
