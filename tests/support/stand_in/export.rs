//! `export`: every event by time, as JSON lines.

use std::io::{self, Write};

use anyhow::anyhow;
use heed::RoTxn;
use strfry_companion::strfry_db::CompressionDictionary;

use super::Arguments;
use super::writer::{Writer, integer};

/// No event of strfry's is larger when decompressed.
const MAX_PAYLOAD: usize = 1 << 20;

/// Runs the command.
pub fn run(arguments: &mut Arguments, writer: &Writer) -> anyhow::Result<()> {
    let since = arguments.number("--since")?.unwrap_or(0);
    let until = arguments.number("--until")?.unwrap_or(u64::MAX);
    let reverse = arguments.flag("--reverse");
    let fried = arguments.flag("--fried");
    arguments.finish()?;

    let txn = writer.read()?;
    let by_time = writer.tables.created_at;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut print = |(time, lev_id): (&[u8], &[u8])| -> anyhow::Result<()> {
        if !(since..=until).contains(&integer(time)) {
            return Ok(());
        }
        let json = json(writer, &txn, lev_id)?;
        if fried {
            let packed = writer.tables.event.get(&txn, lev_id)?.ok_or_else(|| broken(lev_id))?;
            let open = json.strip_suffix('}').unwrap_or(&json);
            writeln!(out, "{open},\"fried\":\"{}\"}}", hex::encode(packed))?;
        } else {
            writeln!(out, "{json}")?;
        }
        Ok(())
    };
    if reverse {
        by_time.rev_iter(&txn)?.try_for_each(|entry| print(entry?))?;
    } else {
        by_time.iter(&txn)?.try_for_each(|entry| print(entry?))?;
    }
    out.flush()?;
    Ok(())
}

/// The JSON of an event, decompressed if strfry has compressed it.
pub fn json(writer: &Writer, txn: &RoTxn, lev_id: &[u8]) -> anyhow::Result<String> {
    let payload = writer.tables.event_payload.get(txn, lev_id)?.ok_or_else(|| broken(lev_id))?;
    let json = match payload.split_first().ok_or_else(|| broken(lev_id))? {
        (0, json) => json.to_vec(),
        (_, compressed) => {
            let (id, frame) = compressed.split_first_chunk::<4>().ok_or_else(|| broken(lev_id))?;
            let key = u64::from(u32::from_ne_bytes(*id)).to_ne_bytes();
            let dictionaries = writer.tables.compression_dictionary;
            let dictionary = dictionaries.get(txn, &key)?.ok_or_else(|| broken(lev_id))?;
            let dictionary = CompressionDictionary::from_bytes(dictionary)?;
            zstd::bulk::Decompressor::with_dictionary(dictionary.dict)?
                .decompress(frame, MAX_PAYLOAD)?
        }
    };
    Ok(String::from_utf8(json)?)
}

fn broken(lev_id: &[u8]) -> anyhow::Error {
    anyhow!("couldn't find event {} in EventPayload", integer(lev_id))
}
