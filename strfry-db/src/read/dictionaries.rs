//! Payloads with the dictionaries that they need, which are read in the same moment and kept.

use std::borrow::Cow;

use crate::error::{ReadError, damaged};
use crate::format::flatbuffers::CompressionDictionary;
use crate::format::keys::LevId;
use crate::format::payload::{self, Dictionary};
use crate::format::tables::present;
use crate::txn::snapshot::Snapshot;

const TABLE: &str = "CompressionDictionary";

/// Decodes one value of `EventPayload`.
pub(crate) fn decode<'a>(
    snapshot: &Snapshot<'_>,
    lev_id: LevId,
    value: &'a [u8],
) -> Result<Cow<'a, str>, ReadError> {
    know_dictionary(snapshot, value)?;
    payload::decode(&snapshot.db().dictionaries, lev_id, value)
}

/// Reads the dictionary that a payload needs, if it needs one that has not been read yet.
pub(crate) fn know_dictionary(snapshot: &Snapshot<'_>, value: &[u8]) -> Result<(), ReadError> {
    let known = &snapshot.db().dictionaries;
    let Some(dict_id) = payload::dictionary_of(value) else { return Ok(()) };
    if known.get(dict_id).is_some() {
        return Ok(());
    }
    let wrong = |what| damaged(TABLE, dict_id, what);
    let table = present(TABLE, snapshot.db().tables.compression_dictionary)?;
    let record = snapshot
        .get(table, &u64::from(dict_id).to_ne_bytes())?
        .ok_or_else(|| wrong("a payload needs it but it is not there"))?;
    let record = CompressionDictionary::from_bytes(record)
        .map_err(|_| wrong("it is not the flatbuffer that strfry writes"))?;
    let dictionary = Dictionary::new(record.dict)
        .ok_or_else(|| wrong("zstd does not accept it as a dictionary"))?;
    // It is kept for longer than the snapshot.
    if !snapshot.is_unspoilt() {
        return Err(ReadError::Overtaken);
    }
    known.insert(dict_id, dictionary);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::golden::golden_database;
    use crate::open::StrfryDb;

    fn payloads(snapshot: &Snapshot<'_>) -> Vec<(LevId, Vec<u8>)> {
        let table = present("EventPayload", snapshot.db().tables.event_payload).unwrap();
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
