//! `scan`: the events that match a filter or several, newest first.
//!
//! Looks at every event for every filter: right, and fast enough for tests.

use std::collections::{BTreeSet, HashSet};
use std::io::{self, Write};

use anyhow::{anyhow, bail};
use strfry_companion::strfry_db::PackedEvent;

use super::Arguments;
use super::export::json;
use super::judge::unhex;
use super::tao::{Json, parse};
use super::writer::{Writer, integer};

/// Runs the command.
pub fn run(arguments: &mut Arguments, writer: &Writer) -> anyhow::Result<()> {
    let count = arguments.flag("--count");
    let filters = arguments.operand()?;
    arguments.finish()?;
    let filters = parse(filters.as_bytes())
        .ok_or_else(|| anyhow!("tao::json::events::from_string:1:1: no valid JSON"))?;
    let filters = parse_filters(filters)?;

    let txn = writer.read()?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut sent = HashSet::new();
    for filter in filters {
        let mut left = filter.limit;
        for entry in writer.tables.created_at.rev_iter(&txn)? {
            if left == 0 {
                break;
            }
            let (_, lev_id) = entry?;
            let record = writer.tables.event.get(&txn, lev_id)?.unwrap_or_default();
            let event = PackedEvent::from_bytes(record).ok_or_else(|| anyhow!("broken index"))?;
            if !filter.matches(&event) {
                continue;
            }
            left -= 1;
            if sent.insert(integer(lev_id)) && !count {
                writeln!(out, "{}", json(writer, &txn, lev_id)?)?;
            }
        }
    }
    if count {
        writeln!(out, "{}", sent.len())?;
    }
    out.flush()?;
    Ok(())
}

/// A filter as `strfry scan` understands it. A field that is `None` does not restrict.
struct Filter {
    ids: Option<BTreeSet<Vec<u8>>>,
    authors: Option<BTreeSet<Vec<u8>>>,
    kinds: Option<BTreeSet<u64>>,
    tags: Vec<(u8, BTreeSet<Vec<u8>>)>,
    since: u64,
    until: u64,
    limit: u64,
}

impl Filter {
    fn matches(&self, event: &PackedEvent<'_>) -> bool {
        let one_of = |set: &Option<BTreeSet<Vec<u8>>>, bytes: &[u8]| {
            set.as_ref().is_none_or(|set| set.contains(bytes))
        };
        (self.since..=self.until).contains(&event.created_at())
            && one_of(&self.ids, event.id().as_bytes())
            && one_of(&self.authors, event.pubkey().as_bytes())
            && self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&event.kind()))
            && self.tags.iter().all(|(name, values)| {
                event.tags().any(|(tag, value)| tag == *name && values.contains(value))
            })
    }
}

fn parse_filters(filters: Json) -> anyhow::Result<Vec<Filter>> {
    let filters = match filters {
        Json::Array(filters) if filters.is_empty() => bail!("too small"),
        Json::Array(filters) => filters,
        filter => vec![filter],
    };
    let filters: Result<Vec<_>, _> = filters.iter().map(parse_filter).collect();
    Ok(filters?.into_iter().flatten().collect())
}

/// `None` for a filter that matches nothing.
fn parse_filter(filter: &Json) -> anyhow::Result<Option<Filter>> {
    let Json::Object(items) = filter else { bail!("provided filter is not an object") };
    let mut filter = Filter {
        ids: None,
        authors: None,
        kinds: None,
        tags: vec![],
        since: 0,
        until: u64::MAX,
        limit: u64::MAX,
    };
    let mut never_matches = false;
    for (key, value) in items {
        if let "since" | "until" | "limit" = key.as_str() {
            let number = value.as_u64().ok_or_else(|| anyhow!("error parsing {key}"))?;
            match key.as_str() {
                "since" => filter.since = number,
                "until" => filter.until = number,
                _ => filter.limit = number,
            }
            continue;
        }
        if !matches!(key.as_str(), "ids" | "authors" | "kinds") && !key.starts_with('#') {
            bail!("unrecognised filter item: {key}");
        }
        let Json::Array(items) = value else { bail!("{key} not an array") };
        if items.is_empty() {
            never_matches = true;
            continue;
        }
        let wrong = |reason: String| anyhow!("error parsing {key}: {reason}");
        match key.as_bytes() {
            b"ids" => filter.ids = Some(keys(items).map_err(wrong)?),
            b"authors" => filter.authors = Some(keys(items).map_err(wrong)?),
            b"kinds" => filter.kinds = Some(kinds(items).map_err(wrong)?),
            &[_, name @ (b'e' | b'p')] => filter.tags.push((name, keys(items).map_err(wrong)?)),
            &[_, name] => filter.tags.push((name, texts(items).map_err(wrong)?)),
            _ => return Err(wrong("unindexed tag filter".into())),
        }
    }
    if filter.tags.len() > 3 {
        bail!("too many tags in filter");
    }
    Ok((!never_matches).then_some(filter))
}

/// What C++ says of a JSON value of another type.
const WRONG_TYPE: &str = "std::get: wrong index for variant";

fn keys(items: &[Json]) -> Result<BTreeSet<Vec<u8>>, String> {
    set(items, |item| unhex(item.as_str().ok_or(WRONG_TYPE)?), 32..=32)
}

fn texts(items: &[Json]) -> Result<BTreeSet<Vec<u8>>, String> {
    set(items, |item| Ok(item.as_str().ok_or(WRONG_TYPE)?.into()), 0..=255)
}

fn set(
    items: &[Json],
    bytes: impl Fn(&Json) -> Result<Vec<u8>, String>,
    sizes: std::ops::RangeInclusive<usize>,
) -> Result<BTreeSet<Vec<u8>>, String> {
    items
        .iter()
        .map(|item| match bytes(item)? {
            item if item.len() < *sizes.start() => Err("filter item too small".into()),
            item if item.len() > *sizes.end() => Err("filter item too large".into()),
            item => Ok(item),
        })
        .collect()
}

fn kinds(items: &[Json]) -> Result<BTreeSet<u64>, String> {
    items.iter().map(|item| item.as_u64().ok_or_else(|| WRONG_TYPE.into())).collect()
}
