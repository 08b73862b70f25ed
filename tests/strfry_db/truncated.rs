//! Data files that were cut short: by a copy that was interrupted, or a disk that was full. LMDB
//! would die of a bus error on a page that is not there.

use std::fs;

use strfry_companion::strfry_db::{OpenError, StrfryDb};
use tempfile::TempDir;

use crate::support::golden_database;
use crate::support::tables::all_tables;

const PAGE: usize = 4096;

/// The golden database's data file, cut.
fn cut_to(data: &[u8], bytes: usize) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("data.mdb"), &data[..bytes]).unwrap();
    directory
}

fn golden_data(name: &str) -> Vec<u8> {
    fs::read(golden_database(name).path().join("data.mdb")).unwrap()
}

#[test]
fn a_file_cut_at_any_page_is_refused_or_read_in_full() {
    for name in ["strfry-1.1.1", "strfry-1.1.1-dict"] {
        let data = golden_data(name);
        let whole = all_tables(cut_to(&data, data.len()).path());
        let mut refused = 0;
        for pages in 2..data.len() / PAGE {
            let directory = cut_to(&data, pages * PAGE);
            match StrfryDb::open(directory.path()) {
                Ok(db) => {
                    drop(db);
                    // Not assert_eq: the failure would be megabytes long.
                    assert!(all_tables(directory.path()) == whole, "{name}, {pages} pages");
                }
                Err(OpenError::Truncated { bytes, .. }) => {
                    assert_eq!(bytes, u64::try_from(pages * PAGE).unwrap());
                    refused += 1;
                }
                Err(error) => panic!("{name}, {pages} pages: {error}"),
            }
        }
        assert!(refused > data.len() / PAGE / 2, "{name}: {refused}");
    }
}

#[test]
fn a_file_cut_inside_a_page_lacks_that_page() {
    let data = golden_data("strfry-1.1.1");
    for pages in [2, 3, 10, 50, data.len() / PAGE - 1] {
        for spare in [1, 16, PAGE / 2, PAGE - 1] {
            let (inside, before) =
                (cut_to(&data, pages * PAGE + spare), cut_to(&data, pages * PAGE));
            assert_eq!(
                StrfryDb::open(inside.path()).is_ok(),
                StrfryDb::open(before.path()).is_ok(),
                "{pages} pages and {spare} bytes"
            );
        }
    }
}

#[test]
fn a_file_that_ends_in_its_first_two_pages_is_no_database() {
    let data = golden_data("strfry-1.1.1");
    for bytes in [1, 15, 16, 100, 151, 152, PAGE - 1, PAGE, PAGE + 1, PAGE + 151] {
        let directory = cut_to(&data, bytes);
        let error = StrfryDb::open(directory.path()).unwrap_err();
        match error {
            OpenError::NotLmdb { what: "it is too short", .. } => assert!(bytes < 152, "{bytes}"),
            OpenError::Truncated { .. } => assert!(bytes >= 152, "{bytes}"),
            error => panic!("{bytes} bytes: {error}"),
        }
    }
}

#[test]
fn pages_at_the_end_that_nothing_refers_to_may_be_missing() {
    let mut data = golden_data("strfry-1.1.1");
    // `mm_last_pg` of both meta pages: LMDB counts pages that a transaction took and gave back.
    for meta in [0, PAGE] {
        let last_page = &mut data[meta + 136..meta + 144];
        let counted = u64::from_ne_bytes(last_page.try_into().unwrap()) + 5;
        last_page.copy_from_slice(&counted.to_ne_bytes());
    }
    let directory = cut_to(&data, data.len());
    assert_eq!(StrfryDb::open(directory.path()).unwrap().stats().unwrap().events, 604);
}

#[test]
fn the_message_says_what_to_do() {
    let data = golden_data("strfry-1.1.1");
    let directory = cut_to(&data, 20 * PAGE);
    let error = StrfryDb::open(directory.path()).unwrap_err();
    let path = directory.path().join("data.mdb");
    assert_eq!(
        error.to_string(),
        format!(
            "{} is truncated: it refers to pages behind its end (81920 bytes); copy it again while \
             strfry is stopped, or restore a backup",
            path.display()
        )
    );
}
