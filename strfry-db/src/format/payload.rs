//! EventPayload: an event's JSON, plain or compressed with one of strfry's dictionaries.
//!
//! | first byte | rest |
//! |---:|---|
//! | 0 | JSON |
//! | 1 | dictId (u32, native endian), zstd frame |

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, PoisonError};

use zstd::bulk::Decompressor;
use zstd::dict::DecoderDictionary;

use crate::error::{ReadError, damaged};
use crate::format::flatbuffers::CompressionDictionary;
use crate::format::keys::LevId;
use crate::format::tables::present;
use crate::limits::DECOMPRESSED_PAYLOAD;
use crate::open::StrfryDb;
use crate::txn::snapshot::Snapshot;

const TABLE: &str = "EventPayload";
const DICTIONARIES: &str = "CompressionDictionary";

/// A zstd dictionary, digested once for all its payloads.
pub(crate) struct Dictionary(DecoderDictionary<'static>);

impl fmt::Debug for Dictionary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dictionary")
    }
}

/// Decodes one value of `EventPayload`.
pub(crate) fn decode<'a>(
    snapshot: &Snapshot<'_>,
    lev_id: LevId,
    value: &'a [u8],
) -> Result<Cow<'a, str>, ReadError> {
    know_dictionary(snapshot, value)?;
    decode_known(snapshot.db(), lev_id, value)
}

/// Reads the dictionary that a payload needs, if it needs one that has not been read yet.
pub(crate) fn know_dictionary(snapshot: &Snapshot<'_>, value: &[u8]) -> Result<(), ReadError> {
    match dictionary_of(value) {
        Some(dict_id) => dictionary(snapshot, dict_id).map(drop),
        None => Ok(()),
    }
}

/// The number of the dictionary that a payload is compressed with.
fn dictionary_of(value: &[u8]) -> Option<u32> {
    let (1, compressed) = value.split_first()? else { return None };
    compressed.first_chunk().copied().map(u32::from_ne_bytes)
}

/// Decodes one value of `EventPayload` whose dictionary has been read.
pub(crate) fn decode_known<'a>(
    db: &StrfryDb,
    lev_id: LevId,
    value: &'a [u8],
) -> Result<Cow<'a, str>, ReadError> {
    let not_utf8 = || damaged(TABLE, lev_id, "its JSON is not UTF-8");
    match value.split_first() {
        Some((0, json)) => {
            simdutf8::basic::from_utf8(json).map(Cow::Borrowed).map_err(|_| not_utf8())
        }
        Some((1, compressed)) => {
            let json = decompress(db, lev_id, compressed)?;
            String::from_utf8(json).map(Cow::Owned).map_err(|_| not_utf8())
        }
        Some(_) => Err(damaged(TABLE, lev_id, "its first byte is neither 0 nor 1")),
        None => Err(damaged(TABLE, lev_id, "it is empty")),
    }
}

fn decompress(db: &StrfryDb, lev_id: LevId, compressed: &[u8]) -> Result<Vec<u8>, ReadError> {
    let wrong = |what| damaged(TABLE, lev_id, what);
    let (dict_id, frame) =
        compressed.split_first_chunk::<4>().ok_or_else(|| wrong("it is too short"))?;
    let dict_id = u32::from_ne_bytes(*dict_id);
    let known = db.dictionaries.lock().unwrap_or_else(PoisonError::into_inner);
    let dictionary = known.get(&dict_id).map(Arc::clone);
    drop(known);
    let dictionary = dictionary.ok_or_else(|| wrong("its dictionary is not there"))?;
    let size = match zstd::zstd_safe::get_frame_content_size(frame) {
        Ok(Some(size)) => usize::try_from(size).unwrap_or(usize::MAX),
        Ok(None) => DECOMPRESSED_PAYLOAD,
        Err(_) => return Err(wrong("it is no zstd frame")),
    };
    if size > DECOMPRESSED_PAYLOAD {
        return Err(wrong("its decompressed size is over 4 MiB"));
    }
    Decompressor::with_prepared_dictionary(&dictionary.0)
        .and_then(|mut decompressor| decompressor.decompress(frame, size))
        .map_err(|_| wrong("it cannot be decompressed with its dictionary"))
}

/// Dictionaries never change once written, so they are kept for as long as the database is open.
fn dictionary(snapshot: &Snapshot<'_>, dict_id: u32) -> Result<Arc<Dictionary>, ReadError> {
    let mut known = snapshot.db().dictionaries.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(dictionary) = known.get(&dict_id) {
        return Ok(Arc::clone(dictionary));
    }
    let wrong = |what| damaged(DICTIONARIES, dict_id, what);
    let table = present(DICTIONARIES, snapshot.db().tables.compression_dictionary)?;
    let record = snapshot
        .get(table, &u64::from(dict_id).to_ne_bytes())?
        .ok_or_else(|| wrong("a payload needs it but it is not there"))?;
    let record = CompressionDictionary::from_bytes(record)
        .map_err(|_| wrong("it is not the flatbuffer that strfry writes"))?;
    let dictionary = DecoderDictionary::try_copy(record.dict)
        .map_err(|_| wrong("zstd does not accept it as a dictionary"))?;
    let dictionary = Arc::new(Dictionary(dictionary));
    // It is kept for longer than the snapshot.
    if !snapshot.is_unspoilt() {
        return Err(ReadError::Overtaken);
    }
    known.insert(dict_id, Arc::clone(&dictionary));
    Ok(dictionary)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::golden::golden_database;

    fn payloads(snapshot: &Snapshot<'_>) -> Vec<(LevId, Vec<u8>)> {
        let table = present(TABLE, snapshot.db().tables.event_payload).unwrap();
        let payload = |(key, value): (&[u8], &[u8])| {
            (LevId::from_ne_bytes(key.try_into().unwrap()), value.to_vec())
        };
        let entries = snapshot.forward(table, None).unwrap();
        entries.map(|entry| payload(entry.unwrap())).collect()
    }

    #[test]
    fn payloads_that_are_cut_short_anywhere_are_damaged_or_shorter() {
        let directory = golden_database("strfry-1.1.1-dict");
        let db = StrfryDb::open(directory.path()).unwrap();
        let snapshot = db.snapshot().unwrap();
        let (mut plain, mut compressed) = (0, 0);
        for (lev_id, value) in payloads(&snapshot) {
            let whole = decode(&snapshot, lev_id, &value).unwrap();
            let is_plain = value[0] == 0;
            *if is_plain { &mut plain } else { &mut compressed } += 1;
            // Every place of some, some places of every.
            let step = if plain + compressed < 60 { 1 } else { 97 };
            for length in (0..value.len()).step_by(step) {
                match decode(&snapshot, lev_id, &value[..length]) {
                    Ok(json) => assert!(is_plain && *json == whole[..length - 1]),
                    Err(error) => assert!(matches!(error, ReadError::Damaged { .. }), "{error}"),
                }
            }
        }
        assert!(plain > 0 && compressed > 100, "{plain} {compressed}");
    }

    #[test]
    fn random_payloads_are_text_or_damaged() {
        let directory = golden_database("strfry-1.1.1-dict");
        let db = StrfryDb::open(directory.path()).unwrap();
        let snapshot = db.snapshot().unwrap();
        // With a beginning that leads into every branch: the type, a dictionary, a frame.
        let begins =
            [&[][..], &[0], &[1], &[1, 1, 0, 0, 0], &[1, 1, 0, 0, 0, 0x28, 0xb5, 0x2f, 0xfd]];
        proptest!(|(begin in 0..begins.len(), bytes in vec(any::<u8>(), 0..200))| {
            match decode(&snapshot, 1, &[begins[begin], &bytes].concat()) {
                Ok(_) | Err(ReadError::Damaged { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        });
    }
}
