//! Where events come from, and what is said when they do not.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::events::Author;
use crate::support::node::{Node, code};
use crate::support::{feed, strfry_bin};
use crate::{import, lines, told, with_each_strfry};

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
}

#[test]
fn a_full_disk_under_the_rejects_is_said_and_does_not_stop_the_import() {
    let node = Node::new(&strfry_bin());
    let rejects = node.home().join("rejects.jsonl");
    // A file may not become larger than 2 MiB, in units of 512 bytes; the database is smaller.
    let shell = format!(
        "trap '' XFSZ; ulimit -f 4096; exec {} import --json --home {} --rejects {}",
        env!("CARGO_BIN_EXE_strfry-companion"),
        node.home().display(),
        rejects.display()
    );
    let mut input = vec![Author::new(1).note(1, "hello")];
    input.extend((0..100).map(|_| format!("{{\"no event\": \"{}\"}}", "x".repeat(50_000))));
    let mut command = Command::new("sh");
    command.args(["-c", &shell]).env_remove("IPFSNODEID").env("HOME", node.home());
    let (code, summary) = told(&feed(&mut command, &lines(&input)));
    assert_eq!((code, &summary["events"]), (1, &json!({ "imported": 1, "malformed": 100 })));
    let error = summary["errors"][0].as_str().unwrap();
    let expected = format!("cannot write all rejects to {}: ", rejects.display());
    assert!(error.starts_with(&expected), "{error}");
}

/// An import with `--rejects` that is refused, with these words, before anything is changed.
fn assert_rejects_are_refused(node: &Node, inputs: &[&Path], rejects: &Path, words: &str) {
    let path = rejects.to_str().unwrap();
    let mut command = node.companion(&["import", "--rejects", path]);
    let words = format!("the file of rejects {words}");
    assert_said(node, command.args(inputs).stdin(Stdio::null()), &words);
}

fn assert_said(node: &Node, command: &mut Command, words: &str) {
    let output = command.output().unwrap();
    let err = String::from_utf8(output.stderr.clone()).unwrap();
    let err = err.replace(&*node.home().to_string_lossy(), "HOME");
    assert_eq!(code(&output), 2, "{err}");
    assert_eq!(err, format!("strfry-companion: {words}\n"));
    assert!(node.events().is_empty());
}

#[test]
fn rejects_never_take_the_place_of_an_input_by_whatever_name() {
    let node = Node::new(&strfry_bin());
    let text = lines(&[Author::new(1).note(1, "hello")]);
    let [first, second] = ["first", "second"].map(|name| node.write(name, &text));
    let (link, hard) = (node.home().join("link"), node.home().join("hard"));
    symlink(&second, &link).unwrap();
    fs::hard_link(&second, &hard).unwrap();
    let other_name = node.home().join("strfry/../second");
    let inputs = [first.as_path(), second.as_path()];
    for rejects in [&second, &link, &hard, &other_name] {
        let name = rejects.strip_prefix(node.home()).unwrap().display();
        let words =
            format!("HOME/{name} is also the input HOME/second; name another one with --rejects");
        assert_rejects_are_refused(&node, &inputs, rejects, &words);
    }
    // The input is the link, and the rejects what it leads to.
    let words = "HOME/second is also the input HOME/link; name another one with --rejects";
    assert_rejects_are_refused(&node, &[&link], &second, words);
    for arguments in [&["import"][..], &["import", "-"]] {
        let mut command =
            node.companion(&[arguments, &["--rejects", hard.to_str().unwrap()]].concat());
        command.stdin(fs::File::open(&second).unwrap());
        let words = "HOME/hard is also the input (standard input); name another one with --rejects";
        assert_said(&node, &mut command, &format!("the file of rejects {words}"));
    }
    assert_eq!([fs::read(&first).unwrap(), fs::read(&second).unwrap()], [text.clone(), text]);
}

#[test]
fn rejects_never_take_the_place_of_strfrys_files_or_of_what_is_no_file() {
    let node = Node::new(&strfry_bin());
    let input = node.write("input", lines(&[Author::new(1).note(1, "hello")]));
    let db = node.strfry_dir().join("strfry-db");
    let (link, fifo) = (node.home().join("link"), node.home().join("fifo"));
    symlink(db.join("data.mdb"), &link).unwrap();
    symlink(&db, node.home().join("db")).unwrap();
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let before = fs::read(db.join("data.mdb")).unwrap();
    // A copy, so that nothing of other tests can be harmed.
    let program = fs::read(node.strfry_dir().join("strfry")).unwrap();
    fs::remove_file(node.strfry_dir().join("strfry")).unwrap();
    node.write("strfry/strfry", &program);
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(node.strfry_dir().join("strfry"), mode).unwrap();
    let in_database = "in the directory of strfry's database HOME/strfry/strfry-db";
    for (rejects, what) in [
        ("strfry/strfry-db/data.mdb", in_database),
        ("strfry/strfry-db/lock.mdb", in_database),
        ("strfry/strfry-db/new", in_database),
        ("db/new", in_database),
        ("link", in_database),
        ("strfry/strfry.conf", "strfry's executable or configuration"),
        ("strfry/strfry", "strfry's executable or configuration"),
    ] {
        let words = format!("HOME/{rejects} is {what}; name another one with --rejects");
        assert_rejects_are_refused(&node, &[&input], &node.home().join(rejects), &words);
        // Nor when nothing is imported.
        let path = node.home().join(rejects);
        let flags = ["import", "--dry-run", "--rejects", path.to_str().unwrap()];
        let mut command = node.companion(&flags);
        assert_said(&node, command.arg(&input), &format!("the file of rejects {words}"));
    }
    for (rejects, shown, what) in
        [(Path::new("/dev/null"), "/dev/null", "a device"), (&fifo, "HOME/fifo", "a pipe (FIFO)")]
    {
        let words = format!(
            "cannot create the file of rejects {shown}: it is {what}, not a regular file; move it \
             away"
        );
        let mut command = node.companion(&["import", "--rejects", rejects.to_str().unwrap()]);
        assert_said(&node, command.arg(&input).stdin(Stdio::null()), &words);
    }
    assert_eq!(fs::read(db.join("data.mdb")).unwrap(), before);
    assert!(fs::read(node.strfry_dir().join("strfry")).unwrap() == program);
    assert!(!db.join("new").exists());
    // What is there from the last time is begun anew.
    let rejects = node.write("rejects", "of old\n");
    let flags = ["--rejects", rejects.to_str().unwrap(), input.to_str().unwrap()];
    assert_eq!(import(&node, &flags, b"").0, 0);
    assert_eq!(fs::read(rejects).unwrap(), b"");
}

#[test]
fn rejects_never_take_the_place_of_the_nodes_own_files() {
    let node = Node::new(&strfry_bin());
    let input = node.write("input", lines(&[Author::new(1).note(1, "hello")]));
    let records = [
        "blacklist.txt",
        "amisOfAmis.txt",
        "constellation-backfill.lock",
        "constellation-backfill.state.json",
        "constellation-backfill.log",
        "constellation-backfill.error.log",
        "constellation-backfill.error.log.1",
        "constellation-backfill.error.log.3",
        "constellation-backfill.history.jsonl",
        "constellation-backfill.history.jsonl.1",
        "hex-to-profile.log",
    ];
    let mut files = records.map(|record| format!("strfry/{record}")).to_vec();
    files.extend(["json", "csv"].map(|kind| format!("tmp/coucou/_NIP101.profiles.{kind}")));
    let is = |file: &str| format!("the node's file HOME/{file}");
    let refuse = |rejects: &str, what: &str| {
        let words = format!("HOME/{rejects} is {what}; name another one with --rejects");
        let path = node.home().join(rejects);
        assert_rejects_are_refused(&node, &[&input], &path, &words);
    };
    fs::create_dir_all(node.home().join("tmp/coucou")).unwrap();
    for file in &files {
        // Whether it is there or not.
        refuse(file, &is(file));
        assert!(!node.home().join(file).exists(), "{file}");
        node.write(file, "precious");
        refuse(file, &is(file));
    }
    let trees = [
        ("game/nostr/alice/HEX", "game/nostr"),
        ("tmp/swarm/peer/12345.json", "tmp/swarm"),
        ("flashmem/a/b/HEX", "flashmem"),
    ];
    for (file, tree) in trees {
        node.write(file, "precious");
        refuse(file, &format!("among the node's files in HOME/{tree}"));
        files.push(file.to_owned());
    }
    // By any other name.
    for file in &files {
        let [soft, hard] = ["soft", "hard"].map(|name| node.home().join(name));
        symlink(node.home().join(file), &soft).unwrap();
        fs::hard_link(node.home().join(file), &hard).unwrap();
        refuse("soft", &is(file));
        refuse("hard", &is(file));
        assert_eq!(node.read(file), "precious");
        fs::remove_file(soft).unwrap();
        fs::remove_file(hard).unwrap();
    }
}

#[test]
fn few_open_files_make_an_error_and_lose_no_event_and_no_class() {
    with_each_strfry(|strfry| {
        let mut codes = BTreeSet::new();
        let node = Node::new(strfry);
        let input = node.write("input", lines(&[Author::new(1).note(1, "hello")]));
        for files in 3..80 {
            let shell = format!(
                "ulimit -n {files}; exec {} import --json --home {} {}",
                env!("CARGO_BIN_EXE_strfry-companion"),
                node.home().display(),
                input.display()
            );
            let mut command = Command::new("sh");
            command.args(["-c", &shell]).env_remove("IPFSNODEID").env("HOME", node.home());
            let output = command.stdin(Stdio::null()).output().unwrap();
            let err = String::from_utf8_lossy(&output.stderr);
            assert!(!err.contains("panicked"), "{files}: {err}");
            codes.insert(code(&output));
            match code(&output) {
                // The system cannot even load the program.
                127 => continue,
                0 => assert_eq!(node.events().len(), 1, "{files}: {err}"),
                _ => assert!(err.contains("strfry-companion: "), "{files}: {err}"),
            }
            if !output.stdout.is_empty() {
                told(&output);
            }
        }
        assert!(codes.contains(&0) && codes.contains(&3), "{codes:?}");
    });
}
