//! Standard output: what is written there, and made fit for a terminal.
//!
//! Text for people, and our own JSON, never hold a character that a terminal obeys or hides. What
//! must keep its bytes (events, CSV) keeps them in a file or a pipe, and is made fit where it goes
//! to a terminal.

use std::borrow::Cow;
use std::io::{self, IsTerminal};

use anyhow::Context;

use super::exit::{Failure, OrFail, Result};
use super::wait::{write_unless_told, write_while_read};
use crate::report::{clean_for_log, clean_json, clean_lines};

/// Whether standard output is a terminal.
pub(super) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Prints text for people.
pub(super) fn print(text: &str) -> Result<()> {
    write(clean_lines(text).as_bytes())
}

/// Prints text for people whose every part has been cleaned, and that may have colours.
pub(super) fn print_cleaned(text: &str) -> Result<()> {
    write(text.as_bytes())
}

/// A count and what is counted: `1 peer`, `2 peers`.
pub(super) fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// How a peer is named: by its address, and by its name unless that is in the address.
pub(super) fn peer_label(url: &str, name: &str) -> String {
    let (url, name) = (clean_for_log(url), clean_for_log(name));
    if url.contains(&*name) { url.into_owned() } else { format!("{url}  {name}") }
}

/// Prints a value as JSON.
pub(super) fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value).or_cannot_run()?;
    text.push('\n');
    write(clean_json(&text).as_bytes())
}

/// Prints JSON lines: byte for byte into a file or a pipe, with escapes on a terminal.
pub(super) fn print_lines(lines: &[u8]) -> Result<()> {
    write(&shown(lines))
}

/// JSON lines as standard output takes them: unchanged, or fit for a terminal.
pub(super) fn shown(lines: &[u8]) -> Cow<'_, [u8]> {
    if !is_terminal() {
        return Cow::Borrowed(lines);
    }
    let text = String::from_utf8_lossy(lines);
    Cow::Owned(clean_json(&text).into_owned().into_bytes())
}

/// The result of writing to standard output; a reader that is gone is a failure of its own kind.
pub(super) fn written(result: io::Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::Unread),
        result => result.context("cannot write to standard output").or_cannot_run(),
    }
}

fn write(bytes: &[u8]) -> Result<()> {
    written(write_while_read(rustix::stdio::stdout(), bytes))
}

/// Writes to standard output while a snapshot is open, for as long as nobody has told the process
/// to end; then it waits for that end no longer than it takes to drop the snapshot.
pub(super) fn write_in_snapshot(bytes: &[u8]) -> Result<()> {
    written(write_unless_told(&shown(bytes)))
}

/// For people: three digits at least, decimal units.
pub(super) fn in_bytes(bytes: u64) -> String {
    let mut shown = bytes as f64;
    let mut units = ["B", "kB", "MB", "GB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    while shown >= 1_000.0
        && let Some(next) = units.next()
    {
        (shown, unit) = (shown / 1_000.0, next);
    }
    match unit {
        "B" => format!("{bytes} B"),
        _ => format!("{shown:.1} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_no_plural_and_a_name_that_is_in_the_address_is_not_said_again() {
        assert_eq!([0, 1, 2].map(|count| counted(count, "peer")), ["0 peers", "1 peer", "2 peers"]);
        let label = |name| peer_label("wss://a.example:1/", name);
        assert_eq!(label("a.example:1"), "wss://a.example:1/");
        assert_eq!(label("12D3Koo"), "wss://a.example:1/  12D3Koo");
    }

    #[test]
    fn bytes_are_shown_in_the_largest_unit_that_fits() {
        let shown = [0, 999, 1_000, 1_580_000_000, 31_600_000_000_000].map(in_bytes);
        assert_eq!(shown, ["0 B", "999 B", "1.0 kB", "1.6 GB", "31600.0 GB"]);
    }
}
