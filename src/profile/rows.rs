//! The answer of the `profiles` command: one row for each pubkey asked for, in four formats.
//!
//! The table is for people, so its text is cleaned and cut. JSON and CSV are for programs: they
//! carry strangers' text unchanged, in JSON with escapes in place of what a terminal would obey.

use std::borrow::Cow;
use std::io::{self, BufWriter, Write};

use serde::Serialize;
use unicode_width::UnicodeWidthStr;

use super::Profile;
use super::file::io_error;
use crate::nostr::{EventId, Pubkey};
use crate::report::{clean, clean_json, clean_to};

/// What is known about the profile of one pubkey. Serialised with its fields in this order,
/// absent ones as null: other programs rely on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProfileRow {
    /// Who was asked for.
    pub pubkey: Pubkey,
    /// Whether there is a kind 0 event, even one with an unreadable content.
    pub found: bool,
    /// The event's id.
    pub id: Option<EventId>,
    /// The event's time, in seconds since 1970.
    pub created_at: Option<u64>,
    /// See [`Profile`].
    pub name: Option<String>,
    /// See [`Profile`].
    pub display_name: Option<String>,
    /// See [`Profile`].
    pub nip05: Option<String>,
    /// See [`Profile`].
    pub about: Option<String>,
    /// See [`Profile`].
    pub picture: Option<String>,
    /// See [`Profile`].
    pub website: Option<String>,
}

impl ProfileRow {
    /// A pubkey with a kind 0 event; with [`Profile::default`] if its content is unreadable.
    pub fn found(pubkey: Pubkey, id: EventId, created_at: u64, profile: Profile) -> Self {
        Self {
            pubkey,
            found: true,
            id: Some(id),
            created_at: Some(created_at),
            name: profile.name,
            display_name: profile.display_name,
            nip05: profile.nip05,
            about: profile.about,
            picture: profile.picture,
            website: profile.website,
        }
    }

    /// A pubkey without a kind 0 event.
    pub fn missing(pubkey: Pubkey) -> Self {
        Self {
            pubkey,
            found: false,
            id: None,
            created_at: None,
            name: None,
            display_name: None,
            nip05: None,
            about: None,
            picture: None,
            website: None,
        }
    }
}

impl ProfileRow {
    /// The row with all its texts fit for a terminal, each in one line.
    pub fn cleaned(self) -> Self {
        let cleaned = |text: Option<String>| text.map(|text| clean(&text).into_owned());
        Self {
            name: cleaned(self.name),
            display_name: cleaned(self.display_name),
            nip05: cleaned(self.nip05),
            about: cleaned(self.about),
            picture: cleaned(self.picture),
            website: cleaned(self.website),
            ..self
        }
    }
}

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Aligned columns for people: short pubkey, whether found, name, display name, NIP-05.
    Table,
    /// One JSON object a line.
    Jsonl,
    /// One JSON array.
    Json,
    /// A header and one line a row.
    Csv,
}

/// Bytes gathered before they are written: what a pipe holds on Linux.
const WRITE_AT: usize = 64 << 10;

/// Writes the rows in their order, and flushes.
///
/// # Errors
/// The writer's own, with its kind: a broken pipe is told apart.
pub fn render(rows: &[ProfileRow], format: Format, out: &mut impl Write) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(WRITE_AT, out);
    match format {
        Format::Table => table(rows, &mut out)?,
        Format::Jsonl => jsonl(rows, &mut out)?,
        Format::Json => {
            let text = serde_json::to_string_pretty(rows)?;
            out.write_all(clean_json(&text).as_bytes())?;
            out.write_all(b"\n")?;
        }
        Format::Csv => csv(rows, &mut out)?,
    }
    out.flush()
}

fn jsonl(rows: &[ProfileRow], out: &mut impl Write) -> io::Result<()> {
    let mut line = Vec::new();
    for row in rows {
        line.clear();
        serde_json::to_writer(&mut line, row)?;
        line.push(b'\n');
        let text = str::from_utf8(&line).map_err(io::Error::other)?;
        out.write_all(clean_json(text).as_bytes())?;
    }
    Ok(())
}

fn csv(rows: &[ProfileRow], out: &mut impl Write) -> io::Result<()> {
    // Written here, because without a row csv would write no header.
    out.write_all(b"pubkey,found,id,created_at,name,display_name,nip05,about,picture,website\n")?;
    let mut csv = csv::WriterBuilder::new().has_headers(false).from_writer(out);
    for row in rows {
        csv.serialize(row).map_err(io_error)?;
    }
    csv.flush()
}

/// Headings, and how many columns of the terminal a cell takes at most.
const COLUMNS: [(&str, usize); 5] =
    [("PUBKEY", 8), ("FOUND", 5), ("NAME", 24), ("DISPLAY NAME", 32), ("NIP-05", 40)];

fn table(rows: &[ProfileRow], out: &mut impl Write) -> io::Result<()> {
    let headings = COLUMNS.map(|(heading, _)| Cell::new(heading.into()));
    let lines: Vec<[Cell<'_>; 5]> =
        std::iter::once(headings).chain(rows.iter().map(cells)).collect();
    let mut widths = [0; 5];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.width.max(*width);
        }
    }
    let mut text = String::new();
    for line in &lines {
        text.clear();
        for (cell, width) in line.iter().zip(widths) {
            text.push_str(&cell.text);
            // Not `{:width$}`, which counts characters instead of columns.
            let padding = width.saturating_sub(cell.width).saturating_add(2);
            text.extend(std::iter::repeat_n(' ', padding));
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
        out.write_all(text.as_bytes())?;
    }
    Ok(())
}

/// A text of the table and the columns of the terminal that it takes.
struct Cell<'a> {
    text: Cow<'a, str>,
    width: usize,
}

impl<'a> Cell<'a> {
    fn new(text: Cow<'a, str>) -> Self {
        Self { width: text.width(), text }
    }
}

fn cells(row: &ProfileRow) -> [Cell<'_>; 5] {
    let [_, _, name, display_name, nip05] = COLUMNS.map(|(_, max)| max);
    [
        Cell::new(row.pubkey.short().into()),
        Cell::new(if row.found { "yes" } else { "no" }.into()),
        cell(row.name.as_deref(), name),
        cell(row.display_name.as_deref(), display_name),
        cell(row.nip05.as_deref(), nip05),
    ]
}

fn cell(text: Option<&str>, max: usize) -> Cell<'_> {
    Cell::new(clean_to(text.unwrap_or_default(), max))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rows() -> [ProfileRow; 3] {
        let row = |byte, content: serde_json::Value| {
            let profile = Profile::parse(&content.to_string()).unwrap();
            let id = EventId::from_bytes([byte; 32]);
            ProfileRow::found(Pubkey::from_bytes([byte; 32]), id, 1_700_000_000, profile)
        };
        [
            row(
                0xaa,
                json!({"name": "小林", "display_name": "Al\u{202e}ice\n", "nip05": "a@b.example",
                       "about": "\u{1b}[2J, \"x\""}),
            ),
            ProfileRow::missing(Pubkey::from_bytes([0xbb; 32])),
            row(0xcc, json!({"name": "x".repeat(1000), "picture": "p", "website": "w"})),
        ]
    }

    fn rendered(rows: &[ProfileRow], format: Format) -> String {
        let mut out = Vec::new();
        render(rows, format, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_table_is_aligned_cut_and_free_of_control_characters() {
        assert_eq!(
            rendered(&rows(), Format::Table),
            [
                r"PUBKEY    FOUND  NAME                      DISPLAY NAME        NIP-05",
                r"aaaaaaaa  yes    小林                      Al\u{202e}ice\u{a}  a@b.example",
                r"bbbbbbbb  no",
                r"cccccccc  yes    xxxxxxxxxxxxxxxxxxxxxxx…",
                "",
            ]
            .join("\n")
        );
    }

    #[test]
    fn jsonl_has_every_key_in_order_and_null_for_what_is_absent() {
        let (a, b, c) = ("aa".repeat(32), "bb".repeat(32), "cc".repeat(32));
        let x = "x".repeat(1000);
        assert_eq!(
            rendered(&rows(), Format::Jsonl),
            format!(
                "{{\"pubkey\":\"{a}\",\"found\":true,\"id\":\"{a}\",\"created_at\":1700000000,\
                 \"name\":\"小林\",\"display_name\":\"Al\\u202eice\\n\",\"nip05\":\"a@b.example\",\
                 \"about\":\"\\u001b[2J, \\\"x\\\"\",\"picture\":null,\"website\":null}}\n\
                 {{\"pubkey\":\"{b}\",\"found\":false,\"id\":null,\"created_at\":null,\
                 \"name\":null,\"display_name\":null,\"nip05\":null,\
                 \"about\":null,\"picture\":null,\"website\":null}}\n\
                 {{\"pubkey\":\"{c}\",\"found\":true,\"id\":\"{c}\",\"created_at\":1700000000,\
                 \"name\":\"{x}\",\"display_name\":null,\"nip05\":null,\
                 \"about\":null,\"picture\":\"p\",\"website\":\"w\"}}\n"
            )
        );
    }

    #[test]
    fn json_is_an_array_of_the_same_objects() {
        let lines = rendered(&rows(), Format::Jsonl);
        let objects: Vec<serde_json::Value> =
            lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let array: Vec<serde_json::Value> =
            serde_json::from_str(&rendered(&rows(), Format::Json)).unwrap();
        assert_eq!(array, objects);
    }

    #[test]
    fn csv_has_the_same_columns_and_the_text_unchanged() {
        let (a, b, c) = ("aa".repeat(32), "bb".repeat(32), "cc".repeat(32));
        let x = "x".repeat(1000);
        assert_eq!(
            rendered(&rows(), Format::Csv),
            format!(
                "pubkey,found,id,created_at,name,display_name,nip05,about,picture,website\n\
                 {a},true,{a},1700000000,小林,\"Al\u{202e}ice\n\",a@b.example,\
                 \"\u{1b}[2J, \"\"x\"\"\",,\n\
                 {b},false,,,,,,,,\n\
                 {c},true,{c},1700000000,{x},,,,p,w\n"
            )
        );
    }

    #[test]
    fn no_rows_still_give_a_heading_or_an_empty_array() {
        assert_eq!(rendered(&[], Format::Table), "PUBKEY  FOUND  NAME  DISPLAY NAME  NIP-05\n");
        assert_eq!(rendered(&[], Format::Jsonl), "");
        assert_eq!(rendered(&[], Format::Json), "[]\n");
        let header = "pubkey,found,id,created_at,name,display_name,nip05,about,picture,website\n";
        assert_eq!(rendered(&[], Format::Csv), header);
    }

    #[test]
    fn a_broken_pipe_is_told_apart_in_every_format() {
        struct Broken;
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let many = vec![rows()[2].clone(); 100];
        for format in [Format::Table, Format::Jsonl, Format::Json, Format::Csv] {
            let error = render(&many, format, &mut Broken).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe, "{format:?}");
        }
    }
}
