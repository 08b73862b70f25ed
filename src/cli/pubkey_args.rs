//! How pubkeys are named in every command: `--pubkey KEY…` and `--pubkeys FILE…`. A key is hex, npub,
//! nprofile or `nostr:…`, or the first digits of one that the node's files name.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Args;

use super::exit::{Failure, Result};
use super::help::ASK;
use super::node::{NodeArguments, warn};
use crate::node::{PeerPolicy, PubkeyList, SkippedLine, read_list_file};
use crate::nostr::{KeyError, Pubkey};

/// Fewer digits are more likely a mistake than a pubkey.
const FEWEST_DIGITS: usize = 6;
/// More are a pubkey, or a secret key, with a digit missing.
const MOST_DIGITS: usize = 32;
/// Of the pubkeys that begin with the same digits, so many are listed.
const MOST_LISTED: usize = 10;

/// Whose events.
#[derive(Debug, Clone, Args)]
pub(super) struct PubkeyArguments {
    /// Pubkeys to ask for, not the node's own
    ///
    /// Hex, npub, nprofile or nostr:…, or the first digits (six or more) of a pubkey that the node's
    /// files name. May be given several times.
    #[arg(long = "pubkey", value_name = "KEY", help_heading = ASK, num_args = 1..)]
    keys: Vec<String>,
    /// Files with pubkeys, one on each line
    ///
    /// `-` is standard input. May be given several times.
    #[arg(long = "pubkeys", value_name = "FILE", help_heading = ASK, num_args = 1..)]
    files: Vec<PathBuf>,
}

impl PubkeyArguments {
    /// The files that are read.
    pub(super) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// What is named, sorted, without repeats. `None`: nothing is.
    pub(super) fn named(&self, node: &NodeArguments) -> Result<Option<Vec<Pubkey>>> {
        if self.keys.is_empty() && self.files.is_empty() {
            return Ok(None);
        }
        let mut pubkeys = parse_keys("--pubkey", &self.keys, node)?;
        for file in &self.files {
            pubkeys.extend(read_pubkeys(file)?.pubkeys);
        }
        pubkeys.sort_unstable();
        pubkeys.dedup();
        Ok(Some(pubkeys))
    }
}

/// Parses what `option` was given. A key is named by its place: what was given by mistake may be a
/// secret key.
pub(super) fn parse_keys(
    option: &str,
    keys: &[String],
    node: &NodeArguments,
) -> Result<Vec<Pubkey>> {
    // Read once, and only if something is shortened.
    let mut known: Option<Vec<Pubkey>> = None;
    let mut pubkeys = Vec::with_capacity(keys.len());
    for (text, number) in keys.iter().zip(1..) {
        let wrong = |problem: &dyn std::fmt::Display| {
            Failure::Usage(anyhow!("{option} number {number} of the command line: {problem}"))
        };
        pubkeys.push(match text.parse() {
            Ok(pubkey) => pubkey,
            Err(KeyError::NotAPubkey) if is_shortened(text) => {
                let read = || node.pubkeys(&node.discover(PeerPolicy::default())).pubkeys;
                let known = known.get_or_insert_with(read);
                the_one_that_begins_with(text, known).map_err(|problem| wrong(&problem))?
            }
            Err(error) => return Err(wrong(&error)),
        });
    }
    Ok(pubkeys)
}

fn is_shortened(text: &str) -> bool {
    (FEWEST_DIGITS..=MOST_DIGITS).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn the_one_that_begins_with(text: &str, known: &[Pubkey]) -> std::result::Result<Pubkey, String> {
    let digits = text.to_ascii_lowercase();
    let mut found: Vec<Pubkey> =
        known.iter().filter(|it| it.to_string().starts_with(&digits)).copied().collect();
    found.sort_unstable();
    found.dedup();
    match found.as_slice() {
        [one] => Ok(*one),
        [] => Err(format!(
            "no pubkey of the node's files begins with {digits}; write all 64 digits (see \
             strfry-companion pubkeys --list)"
        )),
        several => {
            let listed: Vec<String> =
                several.iter().take(MOST_LISTED).map(ToString::to_string).collect();
            let more = several.len().saturating_sub(MOST_LISTED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            Err(format!(
                "{} pubkeys begin with {digits}; write more digits: {}{more}",
                several.len(),
                listed.join(" ")
            ))
        }
    }
}

/// Reads a list that the operator named, and says what was skipped.
pub(super) fn read_pubkeys(file: &Path) -> Result<PubkeyList> {
    let list = read_list_file(file).map_err(|error| match parse_name(file) {
        // A key in the place of a file: not repeated, because it may be a secret one.
        Some(Ok(_)) => Failure::Usage(anyhow!(
            "--pubkeys takes a file, and this is a pubkey: name it with --pubkey"
        )),
        Some(Err(error @ KeyError::SecretKey)) => {
            Failure::Usage(anyhow!("--pubkeys takes a file: {error}"))
        }
        _ => Failure::Usage(error.into()),
    })?;
    let lines = |count| if count == 1 { "1 line".to_owned() } else { format!("{count} lines") };
    let skipped = list.first_skipped.first().map(|first| {
        let SkippedLine { number, problem } = first;
        format!("{} skipped, the first is line {number}: {problem}", lines(list.skipped))
    });
    let repeated = (list.duplicates > 0).then(|| format!("{} repeated", lines(list.duplicates)));
    let remarks: Vec<String> = skipped.into_iter().chain(repeated).collect();
    if !remarks.is_empty() {
        let standard_input = file == Path::new("-");
        let name = if standard_input { Path::new("standard input") } else { file };
        warn(format_args!("{}: {}", name.display(), remarks.join("; ")));
    }
    Ok(list)
}

fn parse_name(file: &Path) -> Option<std::result::Result<Pubkey, KeyError>> {
    file.to_str().map(str::parse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortened_key_is_the_one_known_pubkey_that_begins_so() {
        let key = |first: u8, second: u8| {
            let mut bytes = [0xab; 32];
            bytes[..2].copy_from_slice(&[first, second]);
            Pubkey::from_bytes(bytes)
        };
        let known = [key(0x12, 0x34), key(0x12, 0x35), key(0x12, 0x35), key(0xfe, 0)];
        assert_eq!(the_one_that_begins_with("1235AB", &known), Ok(key(0x12, 0x35)));
        assert_eq!(
            the_one_that_begins_with("12", &known),
            Err(format!("2 pubkeys begin with 12; write more digits: {} {}", known[0], known[1]))
        );
        assert_eq!(
            the_one_that_begins_with("00", &known),
            Err("no pubkey of the node's files begins with 00; write all 64 digits (see \
                 strfry-companion pubkeys --list)"
                .to_owned())
        );
        let many: Vec<Pubkey> = (0..12).map(|byte| key(0x77, byte)).collect();
        assert!(the_one_that_begins_with("77", &many).unwrap_err().ends_with(" and 2 more"));
        for text in ["12345", &"a".repeat(33), "12345g", "é12345"] {
            assert!(!is_shortened(text), "{text}");
        }
        assert!(is_shortened("123456"));
    }
}
