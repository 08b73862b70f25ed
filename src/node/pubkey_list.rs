//! Lists of pubkeys, one a line: what the node's own files and the operator's lists hold.
//!
//! A line that is no pubkey costs only itself: it is counted, never repeated in a message.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::line_reader::{self, Line};
use crate::nostr::{KeyError, Pubkey};

/// A list that nobody named on the command line may be this large: about a million lines.
pub(super) const MAX_LIST_BYTES: u64 = 64 << 20;
/// One that was named has an end too: 16 million lines. A device has none.
const MAX_NAMED_LIST_BYTES: u64 = 1 << 30;
/// Of the lines left out, this many are named.
const MAX_NAMED_LINES: usize = 5;

/// The pubkeys of one list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PubkeyList {
    /// In the order of the list, without repeats.
    pub pubkeys: Vec<Pubkey>,
    /// Lines that repeat a pubkey.
    pub duplicates: usize,
    /// Lines that are no pubkey.
    pub skipped: usize,
    /// The first few of these.
    pub first_skipped: Vec<SkippedLine>,
}

/// A line that is no pubkey.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {number}: {problem}")]
pub struct SkippedLine {
    /// The first line is 1.
    pub number: u64,
    /// What is wrong with it.
    pub problem: LineProblem,
}

/// Why a line is no pubkey.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineProblem {
    /// Its text is none.
    #[error(transparent)]
    NoPubkey(#[from] KeyError),
    /// It is longer than any line with a pubkey has reason to be.
    #[error("too long for a pubkey")]
    TooLong,
}

/// Why a list that was asked for could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the list of pubkeys {name:?}: {source}; check the name given with --pubkeys")]
pub struct ListError {
    /// The file, or `-`.
    pub name: PathBuf,
    /// What the operating system said.
    pub source: io::Error,
}

/// Reads a list that was named on the command line; `-` is standard input. A pipe is read too.
///
/// # Errors
/// [`ListError`] when the file is not there or reading fails: what was asked for by name is never
/// left out silently.
pub fn read_list_file(name: &Path) -> Result<PubkeyList, ListError> {
    let list = if name == Path::new("-") {
        read_list(io::stdin().lock())
    } else {
        File::open(name).and_then(|file| read_list(BufReader::new(file)))
    };
    list.map_err(|source| ListError { name: name.to_owned(), source })
}

/// Reads a list: hex in any case or npub, with white space around. Empty lines and lines that
/// start with `#` are comments.
///
/// # Errors
/// When reading fails, or the list is longer than a gibibyte.
pub fn read_list(reader: impl BufRead) -> io::Result<PubkeyList> {
    let mut reader = reader.take(MAX_NAMED_LIST_BYTES + 1);
    let mut list = PubkeyList::default();
    // Room for an ordinary list, so that it is not moved again and again.
    let mut seen = HashSet::with_capacity(1_024);
    line_reader::for_each_line(&mut reader, |line| match pubkey_in(line) {
        None => {}
        Some(Ok(pubkey)) if seen.insert(pubkey) => list.pubkeys.push(pubkey),
        Some(Ok(_)) => list.duplicates = list.duplicates.saturating_add(1),
        Some(Err(problem)) => {
            list.skipped = list.skipped.saturating_add(1);
            if list.first_skipped.len() < MAX_NAMED_LINES {
                list.first_skipped.push(SkippedLine { number: line.number, problem });
            }
        }
    })?;
    if reader.limit() == 0 {
        let text = format!("it is longer than {MAX_NAMED_LIST_BYTES} bytes");
        return Err(io::Error::other(text));
    }
    Ok(list)
}

/// The pubkey that is all of a line. `None` for a line without any text.
pub(super) fn pubkey_in(line: Line<'_>) -> Option<Result<Pubkey, LineProblem>> {
    let text = text_of(line)?;
    Some(if line.cut { Err(LineProblem::TooLong) } else { parse(text) })
}

/// The pubkey that is the first word of a line, whatever punctuation and remarks are around it.
pub(super) fn pubkey_at_start_of(line: Line<'_>) -> Option<Result<Pubkey, LineProblem>> {
    let text = text_of(line)?;
    let mut words = text.split(|byte| !byte.is_ascii_alphanumeric());
    Some(parse(words.find(|word| !word.is_empty()).unwrap_or(text)))
}

/// What of a line counts: no byte order mark, no white space around, no comment.
fn text_of(line: Line<'_>) -> Option<&[u8]> {
    const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
    let text = line.bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line.bytes).trim_ascii();
    match text.first() {
        None | Some(b'#') => None,
        Some(_) => Some(text),
    }
}

fn parse(text: &[u8]) -> Result<Pubkey, LineProblem> {
    // Unicode has more white space than ASCII; what is no UTF-8 is no pubkey either.
    let text = std::str::from_utf8(text).map_err(|_| KeyError::NotAPubkey)?.trim();
    Ok(text.parse()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NPUB: &str = "npub10elfcs4fr0l0r8af98jlmgdh9c8tcxjvz9qkw038js35mp4dma8qzvjptg";
    const NPUB_HEX: &str = "7e7e9c42a91bfef19fa929e5fda1b72e0ebc1a4c1141673e2794234d86addf4e";

    fn key(hex: &str) -> Pubkey {
        Pubkey::from_hex(hex).unwrap()
    }

    #[test]
    fn hex_of_any_case_and_npubs_are_read_and_junk_costs_only_its_own_line() {
        let upper = "ABCDEF0123456789".repeat(4);
        let year = format!("{}2024{}", "0".repeat(30), "f".repeat(30));
        let digits = format!("12345678{}", "a".repeat(56));
        let mut text = b"\xef\xbb\xbf# friends\r\n\r\n".to_vec();
        for line in [
            upper.as_bytes(),
            b"\xff\xfe junk \xe2\x80",
            b"  \t ",
            year.as_bytes(),
            NPUB.as_bytes(),
            &b"a".repeat(2000),
            upper.to_lowercase().as_bytes(),
            "\u{a0}# no comment".as_bytes(),
            b"npub1qqqq",
            b"nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5",
            format!("\u{a0}{digits} ").as_bytes(),
            format!("{NPUB_HEX}0").as_bytes(),
        ] {
            text.extend_from_slice(line);
            text.extend_from_slice(b"\r\n");
        }
        let skipped = |number, problem| SkippedLine { number, problem };
        assert_eq!(
            read_list(text.as_slice()).unwrap(),
            PubkeyList {
                pubkeys: vec![key(&upper), key(&year), key(NPUB_HEX), key(&digits)],
                duplicates: 1,
                skipped: 6,
                first_skipped: vec![
                    skipped(4, KeyError::NotAPubkey.into()),
                    skipped(8, LineProblem::TooLong),
                    skipped(10, KeyError::NotAPubkey.into()),
                    skipped(11, KeyError::BadNpub.into()),
                    skipped(12, KeyError::SecretKey.into()),
                ],
            }
        );
    }

    #[test]
    fn a_list_asked_for_by_name_that_cannot_be_read_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("absent");
        assert_eq!(
            read_list_file(&missing).unwrap_err().to_string(),
            format!(
                "cannot read the list of pubkeys {missing:?}: No such file or directory (os error \
                 2); check the name given with --pubkeys"
            )
        );
        assert!(read_list_file(directory.path()).is_err());
        assert_eq!(read_list_file(Path::new("/dev/null")).unwrap(), PubkeyList::default());
        assert_eq!(
            read_list_file(Path::new("/dev/zero")).unwrap_err().to_string(),
            "cannot read the list of pubkeys \"/dev/zero\": it is longer than 1073741824 bytes; \
             check the name given with --pubkeys"
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_fail_or_miscount(text: Vec<u8>) {
            let list = read_list(text.as_slice()).unwrap();
            let lines = text.split(|byte| *byte == b'\n').count();
            prop_assert!(list.pubkeys.len() + list.duplicates + list.skipped <= lines);
        }

        #[test]
        fn a_pubkey_is_found_whatever_the_other_lines_are(
            before: Vec<u8>,
            after: Vec<u8>,
            bytes: [u8; 32],
            upper: bool,
        ) {
            let pubkey = Pubkey::from_bytes(bytes);
            let hex = pubkey.to_string();
            let hex = if upper { hex.to_uppercase() } else { hex };
            let text = [&before, &b"\n "[..], hex.as_bytes(), b"\t\r\n", &after].concat();
            prop_assert!(read_list(text.as_slice()).unwrap().pubkeys.contains(&pubkey));
        }
    }
}
