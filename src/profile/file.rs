//! The profiles file, as JSON and as CSV, in the forms that other programs read.
//!
//! A file is replaced whole or not at all: no reader ever sees half of one.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use super::{Profile, RelayUse};
use crate::files;
use crate::nostr::Pubkey;

/// Readable by the other programs of the node; temporary files are not.
const MODE: u32 = 0o644;

const CSV_HEADER: [&str; 10] = [
    "hex",
    "name",
    "display_name",
    "about",
    "picture",
    "website",
    "nip05",
    "relays_count",
    "relays_list",
    "fetched_at",
];

/// One author in the profiles file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProfileRecord {
    /// The author.
    pub hex: Pubkey,
    /// Written as its whole content.
    pub profile: Profile,
    /// Empty if the author has published no list.
    pub relays: Vec<RelayUse>,
    /// From [`fetched_at`].
    pub fetched_at: String,
}

/// A time as the profiles file writes it: RFC 3339, UTC, whole seconds.
pub fn fetched_at(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Why a profiles file was not written. What was there before is still there, unless the step
/// says otherwise.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the profiles file {}: cannot {step}{}", path.display(), self.advice())]
pub struct WriteError {
    /// The file that was to be written.
    pub path: PathBuf,
    /// What was tried, such as `create its directory`.
    pub step: &'static str,
    /// What the system said.
    pub source: io::Error,
}

impl WriteError {
    /// What to do, unless the source says it.
    fn advice(&self) -> &'static str {
        match files::is_refusal(&self.source) {
            true => "",
            false => "; check that its directory is writable and that the disk is not full",
        }
    }
}

/// Writes an array of records, one record a line. Creates the directory if it is missing.
///
/// # Errors
/// [`WriteError`] names file and step.
pub fn write_json(path: &Path, records: &[ProfileRecord]) -> Result<(), WriteError> {
    replace(path, |out| {
        for (index, record) in records.iter().enumerate() {
            out.write_all(if index == 0 { b"[\n" } else { b",\n" })?;
            serde_json::to_writer(&mut *out, record)?;
        }
        out.write_all(if records.is_empty() { b"[]\n" } else { b"\n]\n" })
    })
}

/// Writes a header and one line for each record, text unchanged, relay URLs joined by `;`.
/// Creates the directory if it is missing.
///
/// # Errors
/// [`WriteError`] names file and step.
pub fn write_csv(path: &Path, records: &[ProfileRecord]) -> Result<(), WriteError> {
    replace(path, |out| {
        let mut csv = csv::Writer::from_writer(out);
        csv.write_record(CSV_HEADER).map_err(io_error)?;
        for record in records {
            csv.write_record(csv_fields(record)).map_err(io_error)?;
        }
        csv.flush()
    })
}

fn csv_fields(record: &ProfileRecord) -> [String; 10] {
    let profile = &record.profile;
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let urls: Vec<&str> = record.relays.iter().map(|relay| relay.url.as_str()).collect();
    [
        record.hex.to_string(),
        text(&profile.name),
        text(&profile.display_name),
        text(&profile.about),
        text(&profile.picture),
        text(&profile.website),
        text(&profile.nip05),
        urls.len().to_string(),
        urls.join(";"),
        record.fetched_at.clone(),
    ]
}

/// Gives back the system's error with its kind, which csv's own conversion hides.
pub(super) fn io_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        kind => io::Error::other(format!("{kind:?}")),
    }
}

fn replace(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>,
) -> Result<(), WriteError> {
    let failed = |step| move |source| WriteError { path: path.to_owned(), step, source };
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(directory).map_err(failed("create its directory"))?;
    let replaced = files::replace(path, MODE, write);
    replaced.map_err(|error| failed(error.step)(error.source))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const TIME: &str = "2026-01-02T03:04:05Z";

    fn record(byte: u8, content: serde_json::Value, urls: &[&str]) -> ProfileRecord {
        ProfileRecord {
            hex: Pubkey::from_bytes([byte; 32]),
            profile: Profile::parse(&content.to_string()).unwrap(),
            relays: urls
                .iter()
                .map(|url| RelayUse { url: (*url).to_owned(), read: true, write: false })
                .collect(),
            fetched_at: TIME.to_owned(),
        }
    }

    fn two_records() -> [ProfileRecord; 2] {
        [
            record(
                0xaa,
                json!({"name": "=alice", "about": "a \"quoted\",\nline", "x": [1]}),
                &["wss://a.example", "wss://b.example"],
            ),
            record(0xbb, json!({}), &[]),
        ]
    }

    #[test]
    fn the_json_file_is_an_array_of_one_record_a_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/deep/profiles.json");
        write_json(&path, &two_records()).unwrap();
        let (a, b) = ("aa".repeat(32), "bb".repeat(32));
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            format!(
                "[\n{{\"hex\":\"{a}\",\"profile\":{{\"about\":\"a \\\"quoted\\\",\\nline\",\
                 \"name\":\"=alice\",\"x\":[1]}},\"relays\":[\
                 {{\"url\":\"wss://a.example\",\"read\":true,\"write\":false}},\
                 {{\"url\":\"wss://b.example\",\"read\":true,\"write\":false}}],\
                 \"fetched_at\":\"{TIME}\"}},\n\
                 {{\"hex\":\"{b}\",\"profile\":{{}},\"relays\":[],\"fetched_at\":\"{TIME}\"}}\n]\n"
            )
        );
        write_json(&path, &[]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "[]\n");
    }

    #[test]
    fn the_csv_file_has_the_header_and_keeps_text_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("profiles.csv");
        write_csv(&path, &two_records()).unwrap();
        let (a, b) = ("aa".repeat(32), "bb".repeat(32));
        let header = "hex,name,display_name,about,picture,website,nip05,relays_count,relays_list,\
                      fetched_at\n";
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            format!(
                "{header}{a},=alice,,\"a \"\"quoted\"\",\nline\",,,,2,\
                 wss://a.example;wss://b.example,{TIME}\n{b},,,,,,,0,,{TIME}\n"
            )
        );
        write_csv(&path, &[]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), header);
    }

    #[test]
    fn others_can_read_the_file_and_nothing_else_is_left_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("profiles.json");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        write_json(&path, &two_records()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_replaced_says_why_and_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("profiles.json");
        fs::create_dir(&path).unwrap();
        let error = write_json(&path, &two_records()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "cannot write the profiles file {}: cannot rename a temporary file to it; check \
                 that its directory is writable and that the disk is not full",
                path.display()
            )
        );
        assert_eq!(error.source.kind(), io::ErrorKind::IsADirectory);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);

        let below_a_file = directory.path().join("file/profiles.csv");
        fs::write(directory.path().join("file"), "").unwrap();
        let error = write_csv(&below_a_file, &[]).unwrap_err();
        assert_eq!((error.step, error.path), ("create its directory", below_a_file));
    }

    #[test]
    fn a_write_that_stops_half_way_leaves_the_old_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("profiles.json");
        fs::write(&path, "old").unwrap();
        let error = replace(&path, |out| {
            out.write_all(b"half")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert_eq!(error.unwrap_err().step, "write a temporary file beside it");
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_time_is_utc_in_whole_seconds() {
        let time = Timestamp::new(1_767_323_045, 999_999_999).unwrap();
        assert_eq!(fetched_at(time), TIME);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn any_text_survives_the_csv_and_the_json_file(
            texts in prop::collection::vec("(?s).*", 7),
            urls in prop::collection::vec("[^;]{1,9}", 0..3),
        ) {
            let content = json!({
                "name": texts[0], "display_name": texts[1], "about": texts[2],
                "picture": texts[3], "website": texts[4], "nip05": texts[5],
            });
            let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
            let mut record = record(1, content, &urls);
            record.fetched_at.clone_from(&texts[6]);
            let directory = tempfile::tempdir().unwrap();

            let path = directory.path().join("profiles.csv");
            write_csv(&path, std::slice::from_ref(&record)).unwrap();
            let rows: Vec<Vec<String>> =
                csv::Reader::from_path(&path).unwrap().deserialize().map(Result::unwrap).collect();
            prop_assert_eq!(rows, [csv_fields(&record)]);

            let path = directory.path().join("profiles.json");
            write_json(&path, std::slice::from_ref(&record)).unwrap();
            let read: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            prop_assert_eq!(read, serde_json::to_value([record]).unwrap());
        }
    }
}
