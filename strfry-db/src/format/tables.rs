//! The named databases of DB version 3: what they are called, how they are made, how their keys
//! are ordered.

use std::fmt;

use crate::error::ReadError;
use crate::format::comparators::Comparator;

/// What every table but `negentropy` is called in LMDB: this, then the name.
pub const PREFIX: &str = "rasgueadb_defaultDb__";

/// `MDB_INTEGERKEY`: keys are integers of 8 bytes.
const INTEGER_KEY: u16 = 0x08;
/// `MDB_DUPSORT | MDB_DUPFIXED | MDB_INTEGERDUP`: a key has several values, integers of 8 bytes.
const VALUES: u16 = 0x04 | 0x10 | 0x20;

/// How a table is made.
pub(crate) struct Shape {
    /// Tells shapes apart; never 0, and less than [`SHAPES`].
    pub(crate) number: u8,
    pub(crate) name: &'static str,
    /// What the table is called in LMDB.
    pub(crate) full_name: &'static str,
    /// LMDB's, as strfry gives them and LMDB keeps them.
    pub(crate) flags: u16,
    pub(crate) comparator: Comparator,
}

/// A table, by how it is made.
pub(crate) type Table = &'static Shape;

impl Shape {
    /// Whether a key has several values.
    pub(crate) fn has_duplicates(&self) -> bool {
        self.flags & VALUES != 0
    }

    /// Whether a page has few values, and reading one is reading much of it.
    pub(crate) fn has_long_values(&self) -> bool {
        self.name == "EventPayload"
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The table of tables.
pub(crate) static MAIN: Shape =
    Shape { number: 1, name: "(tables)", full_name: "", flags: 0, comparator: Comparator::Bytes };

/// LMDB's list of free pages: the commit that freed them, and the pages.
pub(crate) static FREE: Shape = Shape {
    number: 2,
    name: "(free pages)",
    full_name: "",
    flags: INTEGER_KEY,
    comparator: Comparator::Integers,
};

/// The values of one key, where they have a tree of their own: as keys, without values.
pub(crate) static OF_ONE_KEY: Shape = Shape {
    number: 3,
    name: "(values)",
    full_name: "",
    flags: INTEGER_KEY,
    comparator: Comparator::Integers,
};

/// Shapes that have no field in [`Tables`].
const OTHERS: u8 = 4;

macro_rules! tables {
    ($meta:ident: $meta_name:literal, $meta_flags:expr;
     $($(#[$doc:meta])* $field:ident: $name:literal, $order:ident, $flags:expr;)*) => {
        /// The tables that are there. All but `Meta` are optional here: what a command needs and
        /// does not find is its error, and an older strfry has fewer.
        #[derive(Debug, Clone, Copy)]
        pub(crate) struct Tables {
            $($(#[$doc])* pub(crate) $field: Option<Table>,)*
        }

        #[allow(non_camel_case_types, reason = "named as the fields are")]
        #[derive(Clone, Copy)]
        enum Number {
            $($field,)*
            Count,
        }

        /// How many shapes there are, and one.
        pub(crate) const SHAPES: usize = OTHERS as usize + 1 + Number::Count as usize;

        /// The table that says what database this is.
        pub(crate) static $meta: Shape = Shape {
            number: OTHERS,
            name: $meta_name,
            full_name: concat!("rasgueadb_defaultDb__", $meta_name),
            flags: $meta_flags,
            comparator: Comparator::Integers,
        };

        impl Tables {
            /// Those that are there.
            pub(crate) fn find<E>(
                mut is_there: impl FnMut(Table) -> Result<bool, E>,
            ) -> Result<Self, E> {
                $(
                    #[allow(non_upper_case_globals, reason = "named as the field is")]
                    static $field: Shape = Shape {
                        number: OTHERS + 1 + Number::$field as u8,
                        name: $name,
                        full_name: concat!("rasgueadb_defaultDb__", $name),
                        flags: $flags,
                        comparator: Comparator::$order,
                    };
                )*
                Ok(Self { $($field: is_there(&$field)?.then_some(&$field),)* })
            }
        }
    };
}

tables! {
    META: "Meta", INTEGER_KEY;
    /// levId → PackedEvent.
    event: "Event", Integers, INTEGER_KEY;
    /// levId → type byte and JSON.
    event_payload: "EventPayload", Integers, INTEGER_KEY;
    /// dictId → flatbuffer.
    compression_dictionary: "CompressionDictionary", Integers, INTEGER_KEY;
    /// treeId → flatbuffer.
    negentropy_filter: "NegentropyFilter", Integers, INTEGER_KEY;
    /// created_at → levId.
    created_at: "Event__created_at", Integers, INTEGER_KEY | VALUES;
    /// id, created_at → levId.
    id: "Event__id", StringUint64, VALUES;
    /// pubkey, created_at → levId.
    pubkey: "Event__pubkey", StringUint64, VALUES;
    /// kind, created_at → levId.
    kind: "Event__kind", Uint64Uint64, VALUES;
    /// pubkey, kind, created_at → levId.
    pubkey_kind: "Event__pubkeyKind", StringUint64Uint64, VALUES;
    /// tag name, tag value, created_at → levId.
    tag: "Event__tag", StringUint64, VALUES;
    /// deleted event's id, deleter's pubkey → levId of the deletion.
    deletion: "Event__deletion", Bytes, VALUES;
    /// pubkey, d-tag, kind → levId.
    replace: "Event__replace", Bytes, VALUES;
    /// sha256 of an a-tag, created_at → levId. Absent where strfry 1.0.x was the last to open.
    replace_deletion: "Event__replaceDeletion", Bytes, VALUES;
}

/// The table, which strfry may not have made yet.
pub(crate) fn present(name: &'static str, table: Option<Table>) -> Result<Table, ReadError> {
    table.ok_or(ReadError::NoTable { table: name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_has_a_number_of_its_own_and_the_name_that_strfry_gives_it() {
        let mut numbers = [&MAIN, &FREE, &OF_ONE_KEY, &META].map(|shape| shape.number).to_vec();
        let found = Tables::find(|table| {
            numbers.push(table.number);
            assert_eq!(table.full_name, format!("{PREFIX}{}", table.name));
            Ok::<_, ()>(true)
        });
        assert!(found.is_ok_and(|tables| tables.replace_deletion.is_some()));
        assert_eq!(numbers, (1..SHAPES as u8).collect::<Vec<_>>());
    }
}
