//! `scan`: the events that match a filter, as JSON lines.
//!
//! Nothing is written while a snapshot is open: whoever reads our output may take their time.

use std::fs::File;
use std::io::{self, Read};
use std::ops::ControlFlow;

use anyhow::{Context, anyhow};
use clap::{Args, ValueEnum};

use super::exit::{Failure, OrFail, Outcome, Result};
use super::node::NodeArguments;
use super::output::write_in_snapshot;
use super::output::{print, print_lines};
use super::resources::ThreadArguments;
use crate::strfry_db::{Batch, Buffers, Filter, PackedEvent, ReadError, ScanOptions, StrfryDb};

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
    let threads = arguments.threads.count();
    print_matches(&db, filters, options, threads, &line, arguments.limit_bytes)?;
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
    threads: usize,
    line: &Line<'_>,
    limit_bytes: Option<u64>,
) -> Result<()> {
    let most = limit_bytes.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(usize::MAX);
    let buffers = Buffers::default();
    let take = |batch: &Batch<'_, '_>| line.of_each(batch, most, buffers.take());
    let write = if options.one_snapshot { write_in_snapshot } else { print_lines };
    let mut printer = Printer { left: most, gathered: Vec::new(), write };
    let ended = db.scan_with(filters, options).each_batch(threads, take, |lines| {
        let printed = lines.or_cannot_run().and_then(|lines| {
            let is_full = printer.take(&lines)?;
            buffers.give_back(lines.bytes);
            match (is_full, lines.damage) {
                (false, Some(damage)) => Err(damage).or_cannot_run(),
                (is_full, _) => Ok(is_full),
            }
        });
        match printed {
            Ok(false) => ControlFlow::Continue(()),
            printed => ControlFlow::Break(printed.map(|_| ())),
        }
    });
    // What was read before the trouble is whole.
    (printer.write)(&printer.gathered)?;
    ended.break_value().unwrap_or(Ok(()))
}

/// Gathers lines, and prints them when there are enough.
struct Printer {
    /// Bytes that may still be printed.
    left: usize,
    gathered: Vec<u8>,
    write: fn(&[u8]) -> Result<()>,
}

impl Printer {
    /// Takes the lines that may still be printed; whether there was no room for all.
    fn take(&mut self, lines: &Lines) -> Result<bool> {
        let fitting = lines.ends.partition_point(|end| *end <= self.left);
        let bytes = fitting.checked_sub(1).and_then(|last| lines.ends.get(last));
        let fitting_bytes = lines.bytes.get(..bytes.copied().unwrap_or(0)).unwrap_or_default();
        self.left -= fitting_bytes.len();
        if self.gathered.is_empty() && fitting_bytes.len() >= WRITE_AT {
            (self.write)(fitting_bytes)?;
        } else {
            self.gathered.extend_from_slice(fitting_bytes);
        }
        if self.gathered.len() >= WRITE_AT {
            (self.write)(&self.gathered)?;
            self.gathered.clear();
        }
        Ok(fitting < lines.ends.len() || lines.is_cut)
    }
}

/// Lines of a batch, each with its line feed.
#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
    /// Where each line ends.
    ends: Vec<usize>,
    /// There are more, and as many bytes as may be printed at all.
    is_cut: bool,
    /// Why the next one cannot be read.
    damage: Option<ReadError>,
}

impl Line<'_> {
    /// The lines of a batch, in a buffer that is empty: those in front of the first that cannot be
    /// read, or with which they are more bytes than may be printed.
    fn of_each(
        &self,
        batch: &Batch<'_, '_>,
        most: usize,
        bytes: Vec<u8>,
    ) -> std::result::Result<Lines, ReadError> {
        let mut lines = Lines { bytes, ..Lines::default() };
        match self {
            Self::Json => lines.append_all(batch.json()?, most, |json, bytes| {
                bytes.extend_from_slice(json.as_bytes());
            }),
            Self::Id => lines.append_all(batch.packed()?, most, |packed, bytes| {
                bytes.extend_from_slice(packed.id().to_string().as_bytes());
            }),
            Self::Fields(fields) => lines.append_all(batch.packed()?, most, |packed, bytes| {
                append_fields(fields, &packed, bytes);
            }),
        }
        Ok(lines)
    }
}

impl Lines {
    fn append_all<T>(
        &mut self,
        events: impl Iterator<Item = std::result::Result<T, ReadError>>,
        most: usize,
        append: impl Fn(T, &mut Vec<u8>),
    ) {
        for event in events {
            match event {
                Ok(event) => append(event, &mut self.bytes),
                Err(error) => {
                    self.damage = Some(error);
                    return;
                }
            }
            self.bytes.push(b'\n');
            if self.bytes.len() > most {
                self.is_cut = true;
                return;
            }
            self.ends.push(self.bytes.len());
        }
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
