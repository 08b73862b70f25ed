//! The three flatbuffers tables of `schema/strfry.fbs`, read through the flatbuffers verifier.
//!
//! Written by hand: six scalar and vector fields do not need a generator at build time.

use flatbuffers::{
    FlatBufferBuilder, Follow, ForwardsUOffset, InvalidFlatbuffer, Table, VOffsetT, Vector,
    Verifiable, Verifier,
};

/// Where the n-th field of a table lies in its vtable.
const fn slot(field: VOffsetT) -> VOffsetT {
    4 + 2 * field
}

/// Table `Meta`: what strfry says of the database as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// 3 for strfry 1.0.0 and later.
    pub db_version: u64,
    /// 1 if the machine that wrote it had our endianness.
    pub endianness: u64,
    /// Counts changes of the set of negentropy trees.
    pub negentropy_modification_counter: u64,
}

/// Table `CompressionDictionary`: a zstd dictionary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompressionDictionary<'a> {
    /// The dictionary as zstd wants it.
    pub dict: &'a [u8],
}

/// Table `NegentropyFilter`: for which filter strfry keeps a negentropy tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NegentropyFilter<'a> {
    /// The filter's JSON.
    pub filter: &'a str,
}

impl Meta {
    /// Reads the value of `Meta`.
    ///
    /// # Errors
    /// Bytes that are not this table.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidFlatbuffer> {
        let table = flatbuffers::root::<MetaTable<'_>>(bytes)?.0;
        let field = |index| {
            // SAFETY: the verifier found a u64, or nothing, in each of these slots.
            #[allow(unsafe_code)]
            unsafe { table.get::<u64>(slot(index), Some(0)) }.unwrap_or(0)
        };
        Ok(Self {
            db_version: field(0),
            endianness: field(1),
            negentropy_modification_counter: field(2),
        })
    }

    /// Writes the value of `Meta` (for databases made by tests).
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut builder = FlatBufferBuilder::new();
        let table = builder.start_table();
        builder.push_slot(slot(0), self.db_version, 0);
        builder.push_slot(slot(1), self.endianness, 0);
        builder.push_slot(slot(2), self.negentropy_modification_counter, 0);
        let table = builder.end_table(table);
        builder.finish_minimal(table);
        builder.finished_data().to_vec()
    }
}

impl<'a> CompressionDictionary<'a> {
    /// Reads a value of `CompressionDictionary`.
    ///
    /// # Errors
    /// Bytes that are not this table.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self, InvalidFlatbuffer> {
        let table = flatbuffers::root::<DictionaryTable<'_>>(bytes)?.0;
        // SAFETY: the verifier found a byte vector, or nothing, in this slot.
        #[allow(unsafe_code)]
        let dict = unsafe { table.get::<ForwardsUOffset<Vector<'a, u8>>>(slot(0), None) };
        Ok(Self { dict: dict.map(|dict| dict.bytes()).unwrap_or_default() })
    }
}

impl<'a> NegentropyFilter<'a> {
    /// Reads a value of `NegentropyFilter`.
    ///
    /// # Errors
    /// Bytes that are not this table.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self, InvalidFlatbuffer> {
        let table = flatbuffers::root::<FilterTable<'_>>(bytes)?.0;
        // SAFETY: the verifier found a string, or nothing, in this slot.
        #[allow(unsafe_code)]
        let filter = unsafe { table.get::<ForwardsUOffset<&'a str>>(slot(0), None) };
        Ok(Self { filter: filter.unwrap_or_default() })
    }

    /// Writes a value of `NegentropyFilter` (for databases made by tests).
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut builder = FlatBufferBuilder::new();
        let filter = builder.create_string(self.filter);
        let table = builder.start_table();
        builder.push_slot_always(slot(0), filter);
        let table = builder.end_table(table);
        builder.finish_minimal(table);
        builder.finished_data().to_vec()
    }
}

macro_rules! verified_table {
    ($name:ident, $verifier:ident => $fields:expr) => {
        struct $name<'a>(Table<'a>);

        impl<'a> Follow<'a> for $name<'a> {
            type Inner = $name<'a>;

            // SAFETY: only the verified `flatbuffers::root` calls this, with a valid location.
            #[allow(unsafe_code)]
            unsafe fn follow(buf: &'a [u8], loc: usize) -> Self::Inner {
                $name(unsafe { Table::new(buf, loc) })
            }
        }

        impl Verifiable for $name<'_> {
            fn run_verifier(
                verifier: &mut Verifier<'_, '_>,
                position: usize,
            ) -> Result<(), InvalidFlatbuffer> {
                let $verifier = verifier.visit_table(position)?;
                $fields.finish();
                Ok(())
            }
        }
    };
}

verified_table!(MetaTable, table => table
    .visit_field::<u64>("dbVersion", slot(0), false)?
    .visit_field::<u64>("endianness", slot(1), false)?
    .visit_field::<u64>("negentropyModificationCounter", slot(2), false)?);
verified_table!(DictionaryTable, table => table
    .visit_field::<ForwardsUOffset<Vector<'_, u8>>>("dict", slot(0), false)?);
verified_table!(FilterTable, table => table
    .visit_field::<ForwardsUOffset<&str>>("filter", slot(0), false)?);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const META: Meta = Meta { db_version: 3, endianness: 1, negentropy_modification_counter: 7 };

    #[test]
    fn what_is_written_reads_back() {
        assert_eq!(Meta::from_bytes(&META.to_bytes()), Ok(META));
        let filter = NegentropyFilter { filter: "{}" };
        assert_eq!(NegentropyFilter::from_bytes(&filter.to_bytes()), Ok(filter));
    }

    #[test]
    fn a_table_cut_at_any_byte_is_refused() {
        let bytes = META.to_bytes();
        for at in 0..bytes.len() {
            assert!(Meta::from_bytes(&bytes[..at]).is_err(), "cut at {at}");
        }
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Meta::from_bytes(&bytes);
            let _ = CompressionDictionary::from_bytes(&bytes);
            let _ = NegentropyFilter::from_bytes(&bytes);
        }
    }
}
