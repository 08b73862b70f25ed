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

use super::error::ReadError;
use super::limits::DECOMPRESSED_PAYLOAD;
use super::lookup::{LevId, Snapshot, damaged, present};
use super::schema::CompressionDictionary;

const TABLE: &str = "EventPayload";
const DICTIONARIES: &str = "CompressionDictionary";

/// A zstd dictionary, digested once for all its payloads.
pub(super) struct Dictionary(DecoderDictionary<'static>);

impl fmt::Debug for Dictionary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dictionary")
    }
}

/// Decodes one value of `EventPayload`.
pub(super) fn decode<'a>(
    snapshot: &Snapshot<'_>,
    lev_id: LevId,
    value: &'a [u8],
) -> Result<Cow<'a, str>, ReadError> {
    let not_utf8 = || damaged(TABLE, lev_id, "its JSON is not UTF-8");
    match value.split_first() {
        Some((0, json)) => {
            simdutf8::basic::from_utf8(json).map(Cow::Borrowed).map_err(|_| not_utf8())
        }
        Some((1, compressed)) => {
            let json = decompress(snapshot, lev_id, compressed)?;
            String::from_utf8(json).map(Cow::Owned).map_err(|_| not_utf8())
        }
        Some(_) => Err(damaged(TABLE, lev_id, "its first byte is neither 0 nor 1")),
        None => Err(damaged(TABLE, lev_id, "it is empty")),
    }
}

fn decompress(
    snapshot: &Snapshot<'_>,
    lev_id: LevId,
    compressed: &[u8],
) -> Result<Vec<u8>, ReadError> {
    let wrong = |what| damaged(TABLE, lev_id, what);
    let (dict_id, frame) =
        compressed.split_first_chunk::<4>().ok_or_else(|| wrong("it is too short"))?;
    let dictionary = dictionary(snapshot, u32::from_ne_bytes(*dict_id))?;
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
    known.insert(dict_id, Arc::clone(&dictionary));
    Ok(dictionary)
}
