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
