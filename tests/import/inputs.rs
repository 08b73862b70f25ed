//! Where events come from, and what is said when they do not.

use std::fs;
use std::io::Write;

use serde_json::json;

use crate::support::events::Author;
use crate::support::node::{Node, code};
use crate::support::strfry_bin;
use crate::{import, lines};

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn files_plain_zstd_and_gzip_and_standard_input_are_read_one_after_another() {
    let author = Author::new(1);
    let text = |second| lines(&[author.note(second, "hello"), author.note(second + 100, "hello")]);
    let node = Node::new(&strfry_bin());
    let files = [
        node.write("plain", text(1)),
        node.write("a.zst", zstd::encode_all(&text(2)[..], 0).unwrap()),
        node.write("b.gz", gzipped(&text(3))),
    ];
    let files = files.each_ref().map(|file| file.to_str().unwrap());
    let (code, summary) = import(&node, &[files[0], files[1], "-", files[2]], &gzipped(&text(4)));
    assert_eq!((code, &summary["events"]), (0, &json!({ "imported": 8 })));
    assert_eq!(node.events().len(), 8);
}

#[test]
fn a_file_that_is_cut_short_is_named_and_what_could_be_read_is_imported() {
    let author = Author::new(1);
    let events: Vec<String> = (0..2_000).map(|second| author.note(second, "hello")).collect();
    let whole = zstd::encode_all(&lines(&events)[..], 0).unwrap();
    let node = Node::new(&strfry_bin());
    let cut = node.write("cut.zst", &whole[..whole.len() * 2 / 3]);
    let more = node.write("more", lines(&[author.note(9_999, "hello")]));
    let (code, summary) = import(&node, &[cut.to_str().unwrap(), more.to_str().unwrap()], b"");
    assert_eq!((code, &summary["status"]), (1, &"incomplete".into()));
    let error = summary["errors"][0].as_str().unwrap();
    assert!(error.starts_with(&format!("cannot read {} to its end: ", cut.display())), "{error}");
    let imported = summary["events"]["imported"].as_u64().unwrap();
    assert_eq!(node.events().len() as u64, imported);
    assert!(node.events().iter().any(|event| event.contains("\"created_at\":9999,")));
}

#[test]
fn anything_may_be_among_the_lines() {
    let author = Author::new(1);
    let mut input = b"\n\r\n\xff\xfe\nnull\n{\"id\":\n".to_vec();
    input.extend(b"[".repeat(100_000));
    input.push(b'\n');
    input.extend(b"x".repeat(3 << 20));
    input.push(b'\n');
    input.extend(author.note(1, "last, without a line feed").bytes());
    let node = Node::new(&strfry_bin());
    let (code, summary) = import(&node, &[], &input);
    let classes = json!({ "imported": 1, "malformed": 4, "oversize": 1 });
    assert_eq!((code, &summary["events"]), (1, &classes));
    assert_eq!(
        summary["reasons"],
        json!({
            "malformed: not UTF-8": 1,
            "malformed: event is not an object": 1,
            "malformed: unable to parse JSON": 1,
            "malformed: nested more than 127 deep": 1,
            "oversize: line too long for any event": 1,
        })
    );
}

#[test]
fn what_cannot_be_used_is_said_before_anything_is_imported() {
    let node = Node::new(&strfry_bin());
    let good = node.write("good", lines(&[Author::new(1).note(1, "hello")]));
    let good = good.to_str().unwrap();
    let refused = |arguments: &[&str], expected_code: i32, expected: &str| {
        let output = node.companion(&[&["import"], arguments].concat()).output().unwrap();
        let err = String::from_utf8(output.stderr.clone()).unwrap();
        let err = err.replace(&*node.home().to_string_lossy(), "HOME");
        assert_eq!(code(&output), expected_code, "{err}");
        assert!(err.contains(expected), "{err}");
        assert!(node.events().is_empty());
    };
    let missing = node.home().join("missing");
    refused(&[good, missing.to_str().unwrap()], 2, "cannot read HOME/missing: No such file");
    refused(&[node.home().to_str().unwrap()], 2, "cannot read HOME: is a directory");
    refused(&["--threads", "0", good], 2, "--threads");
    let nowhere = node.home().join("no/rejects");
    refused(
        &["--rejects", nowhere.to_str().unwrap(), good],
        3,
        "cannot create the file of rejects",
    );
    refused(&["--strfry-bin", "/nonexistent", good], 3, "cannot start strfry (/nonexistent)");
    refused(&["--db", "/nonexistent", good], 3, "/nonexistent");
    fs::remove_file(node.strfry_dir().join("strfry-db/lock.mdb")).unwrap();
    refused(&[good], 3, "has no lock.mdb");
}

#[test]
fn a_full_disk_under_the_rejects_is_said_and_does_not_stop_the_import() {
    if !std::path::Path::new("/dev/full").exists() {
        return println!("skipped: this machine has no /dev/full");
    }
    let node = Node::new(&strfry_bin());
    let input = lines(&[Author::new(1).note(1, "hello"), "{}".to_owned()]);
    let (code, summary) = import(&node, &["--rejects", "/dev/full"], &input);
    assert_eq!((code, &summary["events"]), (1, &json!({ "imported": 1, "malformed": 1 })));
    let error = summary["errors"][0].as_str().unwrap();
    assert!(error.starts_with("cannot write all rejects to /dev/full: "), "{error}");
}
