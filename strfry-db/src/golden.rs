//! The databases of `tests/fixtures`, for tests of what is not public.

use std::fs::File;
use std::path::Path;

/// A copy of one of them in a directory of its own, without a lock file.
pub(crate) fn golden_database(name: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
    let compressed = File::open(fixtures.join(name).join("data.mdb.zst")).unwrap();
    let data = File::create(directory.path().join("data.mdb")).unwrap();
    zstd::stream::copy_decode(compressed, data).unwrap();
    directory
}

/// A file in which LMDB has put nothing but payloads, so many that two branches lie above each leaf; of
/// some, what they are with the header of a page needs one page more than what they are alone.
#[cfg(feature = "lmdb")]
pub(crate) fn deep_file() -> tempfile::TempDir {
    use heed::types::Bytes;
    use heed::{CommitOrAbort, EnvOpenOptions, IntegerComparator};

    let directory = tempfile::tempdir().unwrap();
    let mut options = EnvOpenOptions::new();
    options.max_dbs(1).map_size(64 << 20);
    // SAFETY: nobody else knows of this directory.
    #[allow(unsafe_code)]
    let env = unsafe { options.open(directory.path()) }.unwrap();
    let created = env.create_databases_and_commit(env.write_txn().unwrap(), |opener, txn| {
        let options = opener.database_options().types::<Bytes, Bytes>();
        let mut options = options.key_comparator::<IntegerComparator>();
        let table = options.name("rasgueadb_defaultDb__EventPayload").create(txn)?;
        for number in 1..2_000_u64 {
            let bytes = if number % 50 == 0 { 4_090 } else { 1_500 };
            table.put(txn, &number.to_ne_bytes(), &vec![0; bytes])?;
        }
        Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit(table))
    });
    created.unwrap();
    directory
}
