//! `scan`: the events that match a filter, as JSON lines.
//!
//! Nothing is written while a snapshot is open: whoever reads our output may take their time.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read};

use anyhow::{Context, anyhow};
use clap::{Args, ValueEnum};

use super::exit::{Failure, OrFail, Outcome, Result};
use super::node::NodeArguments;
use super::output::write_in_snapshot;
use super::output::{print, print_lines};
use super::resources::ThreadArguments;
use crate::strfry_db::{Batch, ScanOptions};
use crate::strfry_db::{Filter, PackedEvent, ReadError, StrfryDb};

/// Output is gathered to this many bytes before it is written: as much as a pipe holds, four
/// times over.
const WRITE_AT: usize = 256 << 10;

/// Room for a filter with four million authors.
const MAX_FILTER_BYTES: u64 = 256 << 20;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// NIP-01 filter: its JSON, @FILE with it, or - for standard input
    ///
    /// A JSON object, or an array of them. Quote it for the shell, as in '{"kinds":[0]}'.
    /// Authors and #p may be hex, npub, nprofile or nostr:….
    #[arg(value_name = "FILTER")]
    filter: String,
    /// Print only how many events match
    #[arg(long, conflicts_with_all = ["limit_bytes", "fields", "ids_only"])]
    count: bool,
    /// Stop before the output is longer than N bytes
    #[arg(long, value_name = "N")]
    limit_bytes: Option<u64>,
    /// Print objects with these fields only
    ///
    /// Separated by commas. It is faster, because the events' JSON is not read.
    #[arg(long, value_name = "FIELDS", value_enum, value_delimiter = ',')]
    fields: Vec<Field>,
    /// Print only ids
    #[arg(long, conflicts_with = "fields")]
    ids_only: bool,
    #[command(flatten)]
    threads: ThreadArguments,
    /// Show the database as of one moment
    ///
    /// Until the end strfry cannot reuse space, and its file grows.
    #[arg(long)]
    one_snapshot: bool,
    #[command(flatten)]
    node: NodeArguments,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Field {
    Id,
    Pubkey,
    Kind,
    CreatedAt,
}

/// What is printed of an event.
enum Line<'a> {
    Json,
    Id,
    Fields(&'a [Field]),
}

pub(super) fn run(arguments: &Arguments) -> Result<Outcome> {
    let text = filter_text(&arguments.filter)?;
    let filters = Filter::parse(&text).or_usage()?;
    let options = ScanOptions { one_snapshot: arguments.one_snapshot, ..ScanOptions::default() };
    let db = arguments.node.open_database()?;
    if arguments.count {
        arguments.threads.apply()?;
        print(&format!("{}\n", db.count_with(filters, options).or_cannot_run()?))?;
        return Ok(Outcome::Complete);
    }
    let line = match arguments.fields.as_slice() {
        _ if arguments.ids_only => Line::Id,
        [] => Line::Json,
        fields => Line::Fields(fields),
    };
    print_matches(&db, filters, options, &line, arguments.limit_bytes)?;
    Ok(Outcome::Complete)
}

/// The JSON of a filter that was named on the command line.
pub(super) fn filter_text(argument: &str) -> Result<String> {
    match (argument, argument.strip_prefix('@')) {
        ("-", _) => read_filter(io::stdin().lock())
            .context("cannot read the filter from standard input")
            .or_usage(),
        (_, Some("")) => {
            Err(Failure::Usage(anyhow!("no file after @: write @FILE, or - for standard input")))
        }
        (_, Some(file)) => File::open(file)
            .and_then(read_filter)
            .with_context(|| format!("cannot read the filter from {file}"))
            .or_usage(),
        (_, None) => Ok(argument.to_owned()),
    }
}

fn read_filter(input: impl Read) -> io::Result<String> {
    let mut text = String::new();
    let read = input.take(MAX_FILTER_BYTES + 1).read_to_string(&mut text)?;
    if read as u64 > MAX_FILTER_BYTES {
        return Err(io::Error::other(format!("it is longer than {MAX_FILTER_BYTES} bytes")));
    }
    Ok(text)
}

fn print_matches(
    db: &StrfryDb,
    filters: Vec<Filter>,
    options: ScanOptions,
    line: &Line<'_>,
    limit_bytes: Option<u64>,
) -> Result<()> {
    let write = if options.one_snapshot { write_in_snapshot } else { print_lines };
    let left = Cell::new(limit_bytes.unwrap_or(u64::MAX));
    let spare = Cell::new(Vec::new());
    let batches = db.scan_with(filters, options).map_batches(|batch| {
        let mut lines = Lines { bytes: spare.take(), left: left.get() };
        let is_full = line.append_all(batch, &mut lines)?;
        Ok((lines, is_full))
    });
    let mut gathered = Vec::new();
    for batch in batches {
        let (mut lines, is_full) = batch.or_cannot_run()?;
        left.set(lines.left);
        match gathered.is_empty() {
            true => std::mem::swap(&mut gathered, &mut lines.bytes),
            false => gathered.append(&mut lines.bytes),
        }
        if is_full {
            break;
        }
        if gathered.len() >= WRITE_AT {
            write(&gathered)?;
            gathered.clear();
        }
        spare.set(lines.bytes);
    }
    write(&gathered)
}

/// Lines of a batch.
struct Lines {
    bytes: Vec<u8>,
    /// Bytes that may still be printed.
    left: u64,
}

impl Lines {
    /// Takes a line, its line feed included; or leaves it out and says that there is no room.
    fn append(&mut self, line: impl FnOnce(&mut Vec<u8>)) -> bool {
        let start = self.bytes.len();
        line(&mut self.bytes);
        self.bytes.push(b'\n');
        match self.left.checked_sub((self.bytes.len() - start) as u64) {
            Some(left) => {
                self.left = left;
                true
            }
            None => {
                self.bytes.truncate(start);
                false
            }
        }
    }
}

impl Line<'_> {
    /// Takes the lines of a batch; whether there was no room for all.
    fn append_all(
        &self,
        batch: &Batch<'_, '_>,
        out: &mut Lines,
    ) -> std::result::Result<bool, ReadError> {
        match self {
            Self::Json => {
                for json in batch.json()? {
                    let json = json?;
                    if !out.append(|bytes| bytes.extend_from_slice(json.as_bytes())) {
                        return Ok(true);
                    }
                }
            }
            Self::Id => {
                for packed in batch.packed()? {
                    let id = packed?.id().to_string();
                    if !out.append(|bytes| bytes.extend_from_slice(id.as_bytes())) {
                        return Ok(true);
                    }
                }
            }
            Self::Fields(fields) => {
                for packed in batch.packed()? {
                    let packed = packed?;
                    if !out.append(|bytes| append_fields(fields, &packed, bytes)) {
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
    }
}

fn append_fields(fields: &[Field], packed: &PackedEvent<'_>, out: &mut Vec<u8>) {
    for (at, field) in fields.iter().enumerate() {
        let value = match field {
            Field::Id => format!("\"id\":\"{}\"", packed.id()),
            Field::Pubkey => format!("\"pubkey\":\"{}\"", packed.pubkey()),
            Field::Kind => format!("\"kind\":{}", packed.kind()),
            Field::CreatedAt => format!("\"created_at\":{}", packed.created_at()),
        };
        out.push(if at == 0 { b'{' } else { b',' });
        out.extend_from_slice(value.as_bytes());
    }
    out.push(b'}');
}
