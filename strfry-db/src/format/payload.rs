//! EventPayload: an event's JSON, plain or compressed with one of strfry's dictionaries.
//!
//! | first byte | rest |
//! |---:|---|
//! | 0 | JSON |
//! | 1 | dictId (u32, native endian), zstd frame |

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use zstd::bulk::Decompressor;
use zstd::dict::DecoderDictionary;

use crate::error::{ReadError, damaged};
use crate::format::keys::LevId;
use crate::limits::DECOMPRESSED_PAYLOAD;

const TABLE: &str = "EventPayload";

/// A zstd dictionary, digested once for all its payloads.
pub(crate) struct Dictionary(DecoderDictionary<'static>);

impl Dictionary {
    /// `None` if zstd does not accept it as one.
    pub(crate) fn new(bytes: &[u8]) -> Option<Self> {
        DecoderDictionary::try_copy(bytes).ok().map(Self)
    }
}

impl fmt::Debug for Dictionary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dictionary")
    }
}

/// The dictionaries that have been read, by number. They never change once written, so they are
/// kept for as long as the database is open.
#[derive(Debug, Default)]
pub(crate) struct KnownDictionaries(Mutex<HashMap<u32, Arc<Dictionary>>>);

impl KnownDictionaries {
    pub(crate) fn get(&self, dict_id: u32) -> Option<Arc<Dictionary>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&dict_id).map(Arc::clone)
    }

    pub(crate) fn insert(&self, dict_id: u32, dictionary: Dictionary) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(dict_id, Arc::new(dictionary));
    }
}

/// The number of the dictionary that a payload is compressed with.
pub(crate) fn dictionary_of(value: &[u8]) -> Option<u32> {
    let (1, compressed) = value.split_first()? else { return None };
    compressed.first_chunk().copied().map(u32::from_ne_bytes)
}

/// Decodes one value of `EventPayload` whose dictionary is known.
pub(crate) fn decode<'a>(
    known: &KnownDictionaries,
    lev_id: LevId,
    value: &'a [u8],
) -> Result<Cow<'a, str>, ReadError> {
    let not_utf8 = || damaged(TABLE, lev_id, "its JSON is not UTF-8");
    match value.split_first() {
        Some((0, json)) => {
            simdutf8::basic::from_utf8(json).map(Cow::Borrowed).map_err(|_| not_utf8())
        }
        Some((1, compressed)) => {
            let json = decompress(known, lev_id, compressed)?;
            String::from_utf8(json).map(Cow::Owned).map_err(|_| not_utf8())
        }
        Some(_) => Err(damaged(TABLE, lev_id, "its first byte is neither 0 nor 1")),
        None => Err(damaged(TABLE, lev_id, "it is empty")),
    }
}

fn decompress(
    known: &KnownDictionaries,
    lev_id: LevId,
    compressed: &[u8],
) -> Result<Vec<u8>, ReadError> {
    let wrong = |what| damaged(TABLE, lev_id, what);
    let (dict_id, frame) =
        compressed.split_first_chunk::<4>().ok_or_else(|| wrong("it is too short"))?;
    let dictionary = known.get(u32::from_ne_bytes(*dict_id));
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
