//! The tables of DB version 3 as strfry creates them: names, flags, key orders, first records, and
//! the keys under which an event is indexed.
//!
//! Knows nothing of what strfry does with events; that is `writer`.

use std::any::TypeId;
use std::cmp::Ordering;

use anyhow::bail;
use heed::types::Bytes;
use heed::{
    CommitToken, Comparator, Database, DatabaseFlags, DatabaseOpener, DefaultComparator,
    IntegerComparator, OnCommit, RwTxn, WithoutTls,
};
use sha2::{Digest, Sha256};
use strfry_companion::import::parse_address;
use strfry_companion::nostr::{Pubkey, kind};
use strfry_companion::strfry_db::comparators::{
    string_uint64, string_uint64_uint64, uint64_uint64,
};
use strfry_companion::strfry_db::tables::PREFIX;
use strfry_companion::strfry_db::{
    LevId, Meta, NegentropyFilter, PackedEvent, id_key, kind_key, pubkey_key, pubkey_kind_key,
    tag_key,
};

const DB_VERSION: u64 = 3;
/// Of the only `Meta` record, and of the first record that numbers itself.
const FIRST_KEY: [u8; 8] = 1u64.to_ne_bytes();

/// One value per integer key.
pub type Records<'e> = Database<'e, Bytes, Bytes, IntegerComparator>;
/// Several levIds per key.
pub type Index<'e, C = DefaultComparator> = Database<'e, Bytes, Bytes, C, IntegerComparator>;

macro_rules! comparators {
    ($($name:ident: $compare:path;)*) => {$(
        /// A key order of strfry's, for LMDB.
        pub enum $name {}

        impl Comparator for $name {
            fn compare(a: &[u8], b: &[u8]) -> Ordering {
                $compare(a, b)
            }
        }
    )*};
}

comparators! {
    StringUint64: string_uint64;
    StringUint64Uint64: string_uint64_uint64;
    Uint64Uint64: uint64_uint64;
}

macro_rules! tables {
    ($($field:ident: $table:ident $(<$order:ty>)?, $name:literal;)*) => {
        /// Handles of all of strfry's own tables.
        #[derive(Clone, Copy)]
        pub struct Tables<'e> {
            $(pub $field: $table<'e $(, $order)?>,)*
        }

        impl OnCommit for Tables<'_> {
            type Committed = Tables<'static>;

            fn on_commit(self, token: &CommitToken) -> Tables<'static> {
                Tables { $($field: self.$field.on_commit(token),)* }
            }
        }

        impl<'e> Tables<'e> {
            /// Opens the tables, and creates those that are not there.
            pub fn create(
                opener: &DatabaseOpener<'e, WithoutTls>,
                txn: &mut RwTxn<'e>,
            ) -> heed::Result<Self> {
                // strfry keeps its negentropy trees in a table without the prefix.
                let mut negentropy = opener.database_options().types::<Bytes, Bytes>();
                negentropy.flags(DatabaseFlags::REVERSE_KEY).name("negentropy").create(txn)?;
                Ok(Self { $($field: create_table(opener, txn, $name)?,)* })
            }
        }
    };
}

tables! {
    meta: Records, "Meta";
    event: Records, "Event";
    event_payload: Records, "EventPayload";
    compression_dictionary: Records, "CompressionDictionary";
    negentropy_filter: Records, "NegentropyFilter";
    created_at: Index<IntegerComparator>, "Event__created_at";
    id: Index<StringUint64>, "Event__id";
    pubkey: Index<StringUint64>, "Event__pubkey";
    kind: Index<Uint64Uint64>, "Event__kind";
    pubkey_kind: Index<StringUint64Uint64>, "Event__pubkeyKind";
    tag: Index<StringUint64>, "Event__tag";
    deletion: Index, "Event__deletion";
    expiration: Index<IntegerComparator>, "Event__expiration";
    replace: Index, "Event__replace";
    replace_deletion: Index, "Event__replaceDeletion";
}

impl Tables<'_> {
    /// strfry's checks at every start; of a new database its first two records.
    pub fn initialise(&self, txn: &mut RwTxn) -> anyhow::Result<()> {
        let Some(meta) = self.meta.get(txn, &FIRST_KEY)? else {
            let meta =
                Meta { db_version: DB_VERSION, endianness: 1, negentropy_modification_counter: 1 };
            self.meta.put(txn, &FIRST_KEY, &meta.to_bytes())?;
            let filter = NegentropyFilter { filter: "{}" };
            self.negentropy_filter.put(txn, &FIRST_KEY, &filter.to_bytes())?;
            return Ok(());
        };
        let meta = Meta::from_bytes(meta)?;
        if meta.endianness != 1 {
            bail!("DB was created on a machine with different endianness");
        }
        match meta.db_version {
            DB_VERSION => Ok(()),
            ..DB_VERSION => bail!("aborting: DB too old"),
            _ => bail!("aborting: DB too new"),
        }
    }
}

/// heed adds INTEGERKEY and INTEGERDUP for its `IntegerComparator`.
fn create_table<'e, C: Comparator + 'static, D: Comparator + 'static>(
    opener: &DatabaseOpener<'e, WithoutTls>,
    txn: &mut RwTxn<'e>,
    name: &str,
) -> heed::Result<Database<'e, Bytes, Bytes, C, D>> {
    let name = format!("{PREFIX}{name}");
    let options = opener.database_options().types::<Bytes, Bytes>();
    let mut options = options.key_comparator::<C>().dup_sort_comparator::<D>();
    if TypeId::of::<D>() == TypeId::of::<IntegerComparator>() {
        options.flags(DatabaseFlags::DUP_SORT | DatabaseFlags::DUP_FIXED);
    }
    options.name(&name).create(txn)
}

/// An index of any key order.
pub trait LevIds {
    /// Adds a levId under a key; nothing happens if it is there already.
    fn insert(&self, txn: &mut RwTxn, key: &[u8], lev_id: LevId) -> heed::Result<()>;
    /// Takes a levId away from a key.
    fn remove(&self, txn: &mut RwTxn, key: &[u8], lev_id: LevId) -> heed::Result<()>;
}

impl<C> LevIds for Index<'static, C> {
    fn insert(&self, txn: &mut RwTxn, key: &[u8], lev_id: LevId) -> heed::Result<()> {
        self.put(txn, key, &lev_id.to_ne_bytes())
    }

    fn remove(&self, txn: &mut RwTxn, key: &[u8], lev_id: LevId) -> heed::Result<()> {
        self.delete_one_duplicate(txn, key, &lev_id.to_ne_bytes()).map(drop)
    }
}

impl Tables<'static> {
    /// Every index and key under which strfry files an event.
    pub fn index_entries(&self, event: &PackedEvent<'_>) -> Vec<(&dyn LevIds, Vec<u8>)> {
        let (id, pubkey, kind, created_at) =
            (event.id(), event.pubkey(), event.kind(), event.created_at());
        let mut entries: Vec<(&dyn LevIds, Vec<u8>)> = vec![
            (&self.created_at, created_at.to_ne_bytes().to_vec()),
            (&self.id, id_key(&id, created_at).to_vec()),
            (&self.pubkey, pubkey_key(&pubkey, created_at).to_vec()),
            (&self.kind, kind_key(kind, created_at).to_vec()),
            (&self.pubkey_kind, pubkey_kind_key(&pubkey, kind, created_at).to_vec()),
        ];
        for (name, value) in event.tags() {
            entries.push((&self.tag, tag_key(name, value, created_at)));
            match name {
                b'e' if kind == kind::DELETION => {
                    entries.push((&self.deletion, deletion_key(value, &pubkey)));
                }
                b'a' if kind == kind::DELETION && own_address(value, &pubkey).is_some() => {
                    let hash = Sha256::digest(value);
                    entries.push((
                        &self.replace_deletion,
                        [&hash[..], &created_at.to_ne_bytes()].concat(),
                    ));
                }
                _ => {}
            }
        }
        if let Some(d_tag) = event.d_tag() {
            entries.push((&self.replace, replace_key(&pubkey, d_tag, kind)));
        }
        if event.expiration() != 0 {
            entries.push((&self.expiration, event.expiration().to_ne_bytes().to_vec()));
        }
        entries
    }
}

/// Key of `Event__deletion`: the deleted event's id, the deleter's pubkey.
pub fn deletion_key(id: &[u8], pubkey: &Pubkey) -> Vec<u8> {
    [id, pubkey.as_bytes()].concat()
}

/// Key of `Event__replace`: pubkey, `d` tag, kind.
pub fn replace_key(pubkey: &Pubkey, d_tag: &[u8], kind: u64) -> Vec<u8> {
    [pubkey.as_bytes().as_slice(), d_tag, &kind.to_ne_bytes()].concat()
}

/// Kind and `d` tag of an `a` tag by which its author may delete; `None` for any other.
pub fn own_address<'a>(a_tag: &'a [u8], author: &Pubkey) -> Option<(u64, &'a str)> {
    let (kind, pubkey, d_tag) = parse_address(std::str::from_utf8(a_tag).ok()?)?;
    (kind::is_addressable(kind) && pubkey == *author).then_some((kind, d_tag))
}
