//! The named databases of DB version 3: names, key orders, and how they are opened.

use std::cmp::Ordering;
use std::fmt;

use heed::types::Bytes;
use heed::{
    CommitOrAbort, CommitToken, Comparator, Database, DatabaseOpener, DefaultComparator, Env,
    OnCommit, RoTxn, WithoutTls,
};

use super::error::ReadError;
use super::orders::{StringUint64, StringUint64Uint64, Uint64Uint64, integers};

/// What every table but `negentropy` is called in LMDB: this, then the name.
pub const PREFIX: &str = "rasgueadb_defaultDb__";

/// LMDB's handle of a table whose keys are in order `C` and whose keys and values are raw bytes.
pub(super) type Handle<C> = Database<'static, Bytes, Bytes, C>;

/// `MDB_INTEGERKEY`: keys are integers of 8 bytes.
pub(super) const INTEGER_KEY: u16 = 0x08;
/// `MDB_DUPSORT | MDB_DUPFIXED | MDB_INTEGERDUP`: a key has several values, integers of 8 bytes.
const VALUES: u16 = 0x04 | 0x10 | 0x20;

/// How a table is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) name: &'static str,
    /// LMDB's, as strfry gives them and LMDB keeps them.
    pub(super) flags: u16,
    /// How its keys are ordered.
    pub(super) order: fn(&[u8], &[u8]) -> Ordering,
}

/// The table that says what database this is.
pub(super) const META: Shape = Shape { name: "Meta", flags: INTEGER_KEY, order: integers };

impl Shape {
    /// The table of tables.
    pub(super) const MAIN: Self = Self { name: "", flags: 0, order: <[u8]>::cmp };

    const fn new<C: Comparator>(name: &'static str, flags: u16) -> Self {
        let order = if flags & INTEGER_KEY == 0 { C::compare } else { integers };
        Self { name, flags, order }
    }

    pub(super) fn has_duplicates(self) -> bool {
        self.flags & VALUES != 0
    }

    /// What the table is called in LMDB.
    pub(super) fn full_name(self) -> String {
        full_name(self.name)
    }
}

/// A table whose keys are in order `C`, or in LMDB's own if that is the default.
pub struct Table<C = DefaultComparator> {
    pub(super) shape: Shape,
    /// Only where it is read through LMDB.
    pub(super) handle: Option<Handle<C>>,
}

impl<C> Clone for Table<C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C> Copy for Table<C> {}

impl<C> fmt::Debug for Table<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("name", &self.shape.name).finish_non_exhaustive()
    }
}

macro_rules! tables {
    ($($(#[$doc:meta])* $field:ident: $name:literal, $order:ty, $flags:expr;)*) => {
        /// Handles of the tables. All but `Meta` are optional here: what a command needs and does
        /// not find is its error, and an older strfry has fewer.
        #[derive(Debug, Clone, Copy)]
        pub struct Tables {
            $($(#[$doc])* pub $field: Option<Table<$order>>,)*
        }

        struct Opened<'e> {
            $($field: Option<Database<'e, Bytes, Bytes, $order>>,)*
        }

        impl OnCommit for Opened<'_> {
            type Committed = Tables;

            fn on_commit(self, token: &CommitToken) -> Tables {
                Tables {
                    $($field: self.$field.on_commit(token).map(|handle| Table {
                        shape: Shape::new::<$order>($name, $flags),
                        handle: Some(handle),
                    }),)*
                }
            }
        }

        impl Tables {
            /// Those that are there, for reading without LMDB.
            pub(super) fn find<E>(
                mut is_there: impl FnMut(Shape) -> Result<bool, E>,
            ) -> Result<Self, E> {
                $(let $field = Shape::new::<$order>($name, $flags);)*
                Ok(Self {
                    $($field: is_there($field)?.then_some(Table { shape: $field, handle: None }),)*
                })
            }
        }

        impl<'e> Opened<'e> {
            fn open(opener: &DatabaseOpener<'e, WithoutTls>, txn: &RoTxn<'e, WithoutTls>) -> heed::Result<Self> {
                Ok(Self { $($field: open_table::<$order>(opener, txn, $name)?,)* })
            }
        }

        /// The names of the tables, without [`PREFIX`].
        pub const NAMES: &[&str] = &[$($name),*];
    };
}

tables! {
    /// levId → PackedEvent.
    event: "Event", DefaultComparator, INTEGER_KEY;
    /// levId → type byte and JSON.
    event_payload: "EventPayload", DefaultComparator, INTEGER_KEY;
    /// dictId → flatbuffer.
    compression_dictionary: "CompressionDictionary", DefaultComparator, INTEGER_KEY;
    /// treeId → flatbuffer.
    negentropy_filter: "NegentropyFilter", DefaultComparator, INTEGER_KEY;
    /// created_at → levId.
    created_at: "Event__created_at", DefaultComparator, INTEGER_KEY | VALUES;
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
    deletion: "Event__deletion", DefaultComparator, VALUES;
    /// expiration → levId.
    expiration: "Event__expiration", DefaultComparator, INTEGER_KEY | VALUES;
    /// pubkey, d-tag, kind → levId.
    replace: "Event__replace", DefaultComparator, VALUES;
    /// sha256 of an a-tag, created_at → levId. Absent where strfry 1.0.x was the last to open.
    replace_deletion: "Event__replaceDeletion", DefaultComparator, VALUES;
}

impl Tables {
    /// Opens what is there.
    pub(super) fn open(env: &Env<WithoutTls>) -> heed::Result<Self> {
        let txn = env.read_txn()?;
        env.open_databases_and_commit(txn, |opener, txn| {
            Opened::open(opener, txn).map(CommitOrAbort::<_, ()>::Commit)
        })
        .map(CommitOrAbort::unwrap_commit)
    }
}

/// Flags such as DUPSORT and INTEGERKEY are stored with the table, so they are not named again.
fn open_table<'e, C: Comparator + 'static>(
    opener: &DatabaseOpener<'e, WithoutTls>,
    txn: &RoTxn<'e, WithoutTls>,
    name: &str,
) -> heed::Result<Option<Database<'e, Bytes, Bytes, C>>> {
    let name = full_name(name);
    let mut options = opener.database_options().types::<Bytes, Bytes>().key_comparator::<C>();
    options.name(&name);
    options.open(txn)
}

/// What a table is called in LMDB.
fn full_name(name: &str) -> String {
    format!("{PREFIX}{name}")
}

/// The table, which strfry may not have made yet.
pub(super) fn present<C>(
    name: &'static str,
    table: Option<Table<C>>,
) -> Result<Table<C>, ReadError> {
    table.ok_or(ReadError::NoTable { table: name })
}
