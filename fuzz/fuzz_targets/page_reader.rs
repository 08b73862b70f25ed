//! The page reader of strfry-db on damaged files: libFuzzer chooses the damage and what is read. What
//! must hold is in `strfry-db/src/fuzz.rs`.

#![no_main]

use std::cell::RefCell;
use std::fs::File;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use strfry_db::DamagedFile;

const DATABASES: [&str; 2] = ["strfry-1.1.1", "strfry-1.1.1-dict"];

thread_local! {
    static FILES: RefCell<[DamagedFile; 2]> = RefCell::new(DATABASES.map(fixture));
}

/// A copy of a database that the real strfry made. It is deleted, and lives on while it is open.
fn fixture(name: &str) -> DamagedFile {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("data.mdb");
    let compressed = File::open(fixtures.join(name).join("data.mdb.zst")).expect("a fixture");
    let data = File::create(&path).expect("a temporary file");
    zstd::stream::copy_decode(compressed, data).expect("a whole fixture");
    DamagedFile::new(&path)
}

/// A number below this one, from as many bytes as it takes; 0 where there are no more.
fn next_below(end: usize, bytes: &mut &[u8]) -> usize {
    let (mut number, mut largest) = (0, end.saturating_sub(1));
    while largest > 0 {
        let (first, rest) = bytes.split_first().unwrap_or((&0, &[]));
        number = number << 8 | usize::from(*first);
        *bytes = rest;
        largest >>= 8;
    }
    number % end.max(1)
}

fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    let mut choose = |end| next_below(end, &mut rest);
    FILES.with_borrow_mut(|files| {
        let file = choose(files.len());
        files[file].damage_and_read(&mut choose);
    });
});
