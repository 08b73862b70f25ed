//! Writes events into a version-3 database by strfry's rules, one transaction per batch.
//!
//! Also the way in which tests and benches make databases without any program: a million events
//! in batches of 100,000 with [`Durability::NotSynced`].

use std::fs::File;
use std::path::Path;

use anyhow::{Context, anyhow};
use heed::{
    CommitOrAbort, CompactionOption, Env, EnvFlags, EnvOpenOptions, PutFlags, RoTxn, RwTxn,
    WithoutTls,
};
use sha2::{Digest, Sha256};
use strfry_companion::import::StoredEvent;
use strfry_companion::nostr::{EventId, Pubkey, kind};
use strfry_companion::strfry_db::{LevId, PackedEvent};

use super::tables::{Tables, deletion_key, own_address, replace_key};

/// strfry 1.1.1, `dbParams.mapsize`, `dbParams.maxreaders` and its number of named databases.
const MAP_SIZE: usize = 10_995_116_277_760;
const MAX_READERS: u32 = 256;
const NAMED_DATABASES: u32 = 64;

/// An event in strfry's two stored forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    packed: Vec<u8>,
    json: String,
}

impl NewEvent {
    /// `None` if the bytes are too few for a PackedEvent.
    pub fn new(packed: Vec<u8>, json: String) -> Option<Self> {
        PackedEvent::from_bytes(&packed)?;
        Some(Self { packed, json })
    }

    /// What strfry indexes of the event.
    pub fn packed(&self) -> PackedEvent<'_> {
        PackedEvent::from_bytes(&self.packed).expect("checked when it was made")
    }
}

impl From<&StoredEvent> for NewEvent {
    fn from(event: &StoredEvent) -> Self {
        Self { packed: event.packed().to_vec(), json: event.json().to_owned() }
    }
}

/// What became of an event, in strfry's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is in the database, under this levId.
    Written(LevId),
    /// Its id was there already.
    Duplicate,
    /// A newer event of its author, kind and `d` tag is there.
    Replaced,
    /// Its author has deleted it before it came.
    Deleted,
}

/// Why an event was taken out of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// A newer one of its author, kind and `d` tag came.
    Replaced,
    /// Its author deleted it by id.
    DeletedById,
    /// Its author deleted it by address.
    DeletedByAddress,
}

/// What a transaction did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// One verdict for each event, in the order in which they were given.
    pub verdicts: Vec<Verdict>,
    /// What went, in the order in which strfry decided it.
    pub removed: Vec<(Removal, EventId)>,
}

/// Whether a commit waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// As strfry does it.
    Synced,
    /// For databases that are thrown away.
    NotSynced,
}

/// An open database. Drop it before the library opens the same directory: a process may have an
/// LMDB environment open only once.
pub struct Writer {
    env: Env<WithoutTls>,
    pub(super) tables: Tables<'static>,
}

impl Writer {
    /// Opens the database in a directory that exists, and initialises it if it is new.
    pub fn open(directory: &Path, durability: Durability) -> anyhow::Result<Self> {
        // Only here to say it as strfry does: heed names another operation.
        std::fs::metadata(directory)
            .map_err(|error| anyhow!("mdb_env_open: {}", reason(&error)))?;
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.map_size(MAP_SIZE).max_readers(MAX_READERS).max_dbs(NAMED_DATABASES);
        let flags = match durability {
            Durability::Synced => EnvFlags::empty(),
            Durability::NotSynced => EnvFlags::NO_SYNC | EnvFlags::NO_META_SYNC,
        };
        // SAFETY: the file is changed through LMDB only, with its locks, and nothing that needs it
        // after a power cut is written unsynced.
        #[allow(unsafe_code)]
        let env = unsafe { options.flags(flags).open(directory) }.context("mdb_env_open")?;
        let txn = env.write_txn()?;
        let tables = env.create_databases_and_commit(txn, |opener, txn| {
            let tables = Tables::create(opener, txn)?;
            tables.initialise(txn)?;
            anyhow::Ok(CommitOrAbort::<_, ()>::Commit(tables))
        })?;
        let tables = tables.unwrap_commit();
        Ok(Self { env, tables })
    }

    /// Copies the database, page by page, into a file that is not there yet.
    pub fn copy_to(&self, path: &Path) -> anyhow::Result<()> {
        let new = File::create_new(path);
        let mut file = new.with_context(|| format!("output file '{}'", path.display()))?;
        Ok(self.env.copy_to_file(&mut file, CompactionOption::Disabled)?)
    }

    /// Begins a read transaction.
    pub fn read(&self) -> heed::Result<RoTxn<'_, WithoutTls>> {
        self.env.read_txn()
    }

    /// Writes a batch in one transaction.
    pub fn write_events(&self, events: &[NewEvent]) -> heed::Result<Batch> {
        let mut txn = self.env.write_txn()?;
        let mut in_order = Vec::with_capacity(events.len());
        for (at, event) in events.iter().enumerate() {
            // What is there before the batch is a duplicate, even if the batch removes it.
            if self.find(&txn, event.packed().id().as_bytes())?.is_none() {
                in_order.push(at);
            }
        }
        in_order.sort_by_key(|&at| {
            let packed = events[at].packed();
            (packed.created_at(), packed.id())
        });
        let mut batch = Batch { verdicts: vec![Verdict::Duplicate; events.len()], removed: vec![] };
        let mut previous = None;
        for at in in_order {
            let id = events[at].packed().id();
            if previous != Some(id) {
                batch.verdicts[at] = self.write_event(&mut txn, &events[at], &mut batch.removed)?;
            }
            previous = Some(id);
        }
        txn.commit()?;
        Ok(batch)
    }

    fn write_event(
        &self,
        txn: &mut RwTxn,
        event: &NewEvent,
        removed: &mut Vec<(Removal, EventId)>,
    ) -> heed::Result<Verdict> {
        let packed = event.packed();
        if self.find(txn, packed.id().as_bytes())?.is_some() {
            return Ok(Verdict::Duplicate);
        }
        let deletion = deletion_key(packed.id().as_bytes(), &packed.pubkey());
        if self.tables.deletion.get(txn, &deletion)?.is_some() {
            return Ok(Verdict::Deleted);
        }
        if super::is_newest() && is_gift_wrap(packed.kind()) {
            for recipient in recipients(&packed) {
                let deletion = deletion_key(packed.id().as_bytes(), &recipient);
                if self.tables.deletion.get(txn, &deletion)?.is_some() {
                    return Ok(Verdict::Deleted);
                }
            }
        }
        let mut doomed = Vec::new();
        let d_tag = packed.d_tag();
        if let Some(d_tag) = d_tag.filter(|_| replaces_others(packed.kind())) {
            let key = replace_key(&packed.pubkey(), d_tag, packed.kind());
            if let Some((lev_id, other)) = self.replaceable(txn, &key)? {
                if is_before(&packed, &other) {
                    return Ok(Verdict::Replaced);
                }
                doomed.push((Removal::Replaced, lev_id, other.id()));
            }
            if self.is_address_deleted(txn, &packed, d_tag)? {
                // strfry's writer thread throws then, and nobody catches it.
                assert!(doomed.is_empty(), "unprocessed deletion");
                return Ok(Verdict::Deleted);
            }
        }
        if packed.kind() == kind::DELETION {
            self.find_deleted(txn, &packed, &mut doomed)?;
        }
        removed.extend(doomed.iter().map(|&(removal, _, id)| (removal, id)));

        let lev_id = self.insert(txn, event)?;
        // After the insertion, so that no levId is given twice.
        for (_, lev_id, _) in doomed {
            self.remove(txn, lev_id)?;
        }
        Ok(Verdict::Written(lev_id))
    }

    /// What a deletion request asks to delete and may.
    fn find_deleted(
        &self,
        txn: &RoTxn,
        deletion: &PackedEvent<'_>,
        doomed: &mut Vec<(Removal, LevId, EventId)>,
    ) -> heed::Result<()> {
        let author = deletion.pubkey();
        for (name, value) in deletion.tags() {
            match name {
                b'e' => {
                    let may_delete = |other: &PackedEvent<'_>| {
                        let is_recipient = super::is_newest()
                            && is_gift_wrap(other.kind())
                            && recipients(other).any(|recipient| recipient == author);
                        other.pubkey() == author || is_recipient
                    };
                    if let Some((lev_id, other)) = self.find(txn, value)?
                        && may_delete(&other)
                    {
                        doomed.push((Removal::DeletedById, lev_id, other.id()));
                    }
                }
                b'a' => {
                    let Some((kind, d_tag)) = own_address(value, &author) else { continue };
                    let key = replace_key(&author, d_tag.as_bytes(), kind);
                    if let Some((lev_id, other)) = self.replaceable(txn, &key)?
                        && other.created_at() <= deletion.created_at()
                    {
                        doomed.push((Removal::DeletedByAddress, lev_id, other.id()));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn find<'t>(
        &self,
        txn: &'t RoTxn,
        id: &[u8],
    ) -> heed::Result<Option<(LevId, PackedEvent<'t>)>> {
        let start = [id, &[0; 8]].concat();
        let entry = self.tables.id.get_greater_than_or_equal_to(txn, &start)?;
        match entry {
            Some((key, lev_id)) if key.starts_with(id) => self.indexed(txn, lev_id).map(Some),
            _ => Ok(None),
        }
    }

    fn replaceable<'t>(
        &self,
        txn: &'t RoTxn,
        key: &[u8],
    ) -> heed::Result<Option<(LevId, PackedEvent<'t>)>> {
        let Some(entries) = self.tables.replace.get_duplicates(txn, key)? else { return Ok(None) };
        let Some((_, lev_id)) = entries.last().transpose()? else { return Ok(None) };
        self.indexed(txn, lev_id).map(Some)
    }

    /// strfry looks at one deletion of the address only, the last in the order of the index. That
    /// is the order of little-endian bytes, so it need not be the newest.
    fn is_address_deleted(
        &self,
        txn: &RoTxn,
        event: &PackedEvent<'_>,
        d_tag: &[u8],
    ) -> heed::Result<bool> {
        if !kind::is_addressable(event.kind()) {
            return Ok(false);
        }
        let mut address = Sha256::new();
        address.update(format!("{}:{}:", event.kind(), event.pubkey()));
        address.update(d_tag);
        let address = address.finalize();
        let end = [&address[..], &[0xff; 8]].concat();
        let last = self.tables.replace_deletion.get_lower_than_or_equal_to(txn, &end)?;
        let deleted_at = last.and_then(|(key, _)| key.strip_prefix(&address[..]));
        Ok(deleted_at.is_some_and(|time| integer(time) >= event.created_at()))
    }

    fn insert(&self, txn: &mut RwTxn, event: &NewEvent) -> heed::Result<LevId> {
        let last = self.tables.event.last(txn)?.map_or(0, |(key, _)| integer(key));
        let lev_id = last + 1;
        let key = lev_id.to_ne_bytes();
        self.tables.event.put_with_flags(txn, PutFlags::APPEND, &key, &event.packed)?;
        for (index, key) in self.tables.index_entries(&event.packed()) {
            index.insert(txn, &key, lev_id)?;
        }
        let payload = [b"\0", event.json.as_bytes()].concat();
        self.tables.event_payload.put(txn, &key, &payload)?;
        Ok(lev_id)
    }

    /// Nothing happens if it is gone already: two reasons may doom the same event.
    fn remove(&self, txn: &mut RwTxn, lev_id: LevId) -> heed::Result<()> {
        let key = lev_id.to_ne_bytes();
        let Some(record) = self.tables.event.get(txn, &key)?.map(<[u8]>::to_vec) else {
            return Ok(());
        };
        for (index, key) in self.tables.index_entries(&packed_event(&record)) {
            index.remove(txn, &key, lev_id)?;
        }
        self.tables.event_payload.delete(txn, &key)?;
        self.tables.event.delete(txn, &key)?;
        Ok(())
    }

    fn indexed<'t>(&self, txn: &'t RoTxn, lev_id: &[u8]) -> heed::Result<(LevId, PackedEvent<'t>)> {
        let record = self.tables.event.get(txn, lev_id)?.expect("an index names events only");
        Ok((integer(lev_id), packed_event(record)))
    }
}

/// The operating system's words, without the number that Rust appends.
fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// Those whom recipients may delete (strfry after 1.1.1).
fn is_gift_wrap(kind: u64) -> bool {
    matches!(kind, 1_059 | 21_059)
}

fn recipients<'a>(packed: &PackedEvent<'a>) -> impl Iterator<Item = Pubkey> + 'a {
    let values = packed.tags().filter(|&(name, _)| name == b'p').map(|(_, value)| value);
    values.filter_map(|value| value.try_into().ok().map(Pubkey::from_bytes))
}

fn replaces_others(kind: u64) -> bool {
    kind::is_replaceable(kind) || kind::is_addressable(kind)
}

/// Of two events in one second NIP-01 keeps the one with the lower id.
fn is_before(event: &PackedEvent<'_>, other: &PackedEvent<'_>) -> bool {
    let (time, other_time) = (event.created_at(), other.created_at());
    time < other_time || (time == other_time && event.id() > other.id())
}

fn packed_event(record: &[u8]) -> PackedEvent<'_> {
    PackedEvent::from_bytes(record).expect("only whole PackedEvents are written")
}

pub(super) fn integer(bytes: &[u8]) -> u64 {
    u64::from_ne_bytes(bytes.try_into().expect("keys and levIds are 8 bytes"))
}
