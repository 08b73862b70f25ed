//! Figures about how the database is kept: free pages, readers, dictionaries, negentropy trees.

use crate::error::{ReadError, damaged, refused};
use crate::format::flatbuffers::{CompressionDictionary, NegentropyFilter};
use crate::format::tables::present;
use crate::limits::EVENTS_PER_SNAPSHOT;
use crate::open::StrfryDb;
use crate::read::batched_walk::{BatchedWalk, Step};

/// Slots for readers in strfry's lock file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Readers {
    /// Most that were taken at once since the lock file was made, this reader's own among them.
    pub used: u32,
    /// `dbParams.maxreaders` of whoever made the lock file.
    pub total: u32,
}

/// The compression dictionaries of `strfry dict`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Dictionaries {
    /// How many there are.
    pub count: u64,
    /// Their size together.
    pub bytes: u64,
}

/// A filter for which strfry keeps a negentropy tree.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct NegentropyTree {
    /// strfry's number of it.
    pub id: u64,
    /// The filter's JSON.
    pub filter: String,
}

/// How the events' JSON is stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Payloads {
    /// Payloads, compressed or not.
    pub count: u64,
    /// Their size as stored.
    pub bytes: u64,
    /// Those compressed with a dictionary.
    pub compressed: u64,
    /// Their size as stored.
    pub compressed_bytes: u64,
    /// Their size when decompressed, as their headers say; those that do not say it count as they
    /// are stored.
    pub decompressed_bytes: u64,
}

impl Payloads {
    /// How many times smaller compression makes what is compressed.
    pub fn ratio(&self) -> Option<f64> {
        #[allow(clippy::cast_precision_loss, reason = "a ratio of bytes needs two digits")]
        (self.compressed_bytes > 0)
            .then(|| self.decompressed_bytes as f64 / self.compressed_bytes as f64)
    }
}

#[doc(hidden)]
impl StrfryDb {
    /// Bytes of pages that a writer may reuse; `None` if commits came too fast to tell.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn free_bytes(&self) -> Result<Option<u64>, ReadError> {
        match self.read(|snapshot| snapshot.free_bytes()) {
            Err(ReadError::Overtaken) => Ok(None),
            bytes => bytes.map(Some),
        }
    }

    /// The compression dictionaries.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn dictionary_figures(&self) -> Result<Dictionaries, ReadError> {
        const TABLE: &str = "CompressionDictionary";
        let Some(table) = self.tables.compression_dictionary else {
            return Ok(Dictionaries::default());
        };
        let walk = BatchedWalk::records(self, TABLE, table, EVENTS_PER_SNAPSHOT);
        walk.run(Dictionaries::default(), |figures, _, key: &[u8; 8], value| {
            let id = u64::from_ne_bytes(*key);
            let record = CompressionDictionary::from_bytes(value)
                .map_err(|_| damaged(TABLE, id, "it is not the flatbuffer that strfry writes"))?;
            figures.count += 1;
            figures.bytes += record.dict.len() as u64;
            Ok(Step::Next)
        })
    }

    /// The negentropy trees that strfry keeps.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn negentropy_trees(&self) -> Result<Vec<NegentropyTree>, ReadError> {
        const TABLE: &str = "NegentropyFilter";
        let Some(table) = self.tables.negentropy_filter else { return Ok(Vec::new()) };
        let walk = BatchedWalk::records(self, TABLE, table, EVENTS_PER_SNAPSHOT);
        walk.run(Vec::new(), |trees, _, key: &[u8; 8], value| {
            let id = u64::from_ne_bytes(*key);
            let record = NegentropyFilter::from_bytes(value)
                .map_err(|_| damaged(TABLE, id, "it is not the flatbuffer that strfry writes"))?;
            trees.push(NegentropyTree { id, filter: record.filter.to_owned() });
            Ok(Step::Next)
        })
    }

    /// How the events' JSON is stored: looks at the head of every payload.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn payload_figures(&self) -> Result<Payloads, ReadError> {
        const TABLE: &str = "EventPayload";
        let table = present(TABLE, self.tables.event_payload)?;
        let walk = BatchedWalk::records(self, TABLE, table, EVENTS_PER_SNAPSHOT);
        walk.run(Payloads::default(), |figures, _, _: &[u8; 8], value| {
            figures.add(value);
            Ok(Step::Next)
        })
    }

    /// Size of `data.mdb`, in bytes.
    pub(crate) fn file_bytes(&self) -> Result<u64, ReadError> {
        let metadata = std::fs::metadata(self.data_path());
        metadata.map(|metadata| metadata.len()).map_err(refused("tell the size"))
    }
}

impl Payloads {
    fn add(&mut self, value: &[u8]) {
        let stored = value.len() as u64;
        self.count += 1;
        self.bytes += stored;
        // Type 1, the dictionary's number in four bytes, the frame.
        let Some((1, [_, _, _, _, frame @ ..])) = value.split_first() else { return };
        let says = zstd::zstd_safe::get_frame_content_size(frame).ok().flatten();
        self.compressed += 1;
        self.compressed_bytes += stored;
        self.decompressed_bytes = self.decompressed_bytes.saturating_add(says.unwrap_or(stored));
    }
}
