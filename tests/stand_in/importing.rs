//! How `import` takes its input apart, what it says, and how it fails to start. Also run on the
//! real strfry if there is one.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::support::running_relay::OWN_CONFIG;
use crate::support::{
    NO_STRFRY, feed, fixture_text, machine_has_a_strfry_conf, messages, real_strfry, run_strfry,
    strfry_bin, strfry_node,
};

type Check = fn(&Path);

/// Runs a check on the stand-in and on the real strfry.
fn on_both(check: Check) {
    check(&strfry_bin());
    match real_strfry() {
        Some(strfry) => check(&strfry),
        None => println!("{NO_STRFRY}"),
    }
}

fn golden_lines(range: std::ops::Range<usize>) -> Vec<String> {
    let events = fixture_text("events.jsonl");
    events.lines().skip(range.start).take(range.len()).map(|line| format!("{line}\n")).collect()
}

fn stored(strfry: &Path, node: &Path) -> usize {
    run_strfry(strfry, node, &["export"], b"").stdout.iter().filter(|&&byte| byte == b'\n').count()
}

/// What is not about paths, times and single deletions.
fn report(output: &Output) -> Vec<String> {
    let ours = ["Committed", "Writer:", "Done.", "Rejected", "Unable", "strfry error", "not verif"];
    let mut report = messages(output);
    report.retain(|line| ours.iter().any(|word| line.starts_with(word)));
    report
}

#[test]
fn totals_count_lines_that_are_json() {
    on_both(|strfry| {
        let node = strfry_node();
        let input = [&golden_lines(0..3).concat(), "{\"id\":\n", "\n", "[1]\n"].concat();
        let imported =
            run_strfry(strfry, node.path(), &["import", "--show-rejected"], input.as_bytes());
        assert_eq!(
            report(&imported),
            [
                "Unable to parse JSON on line 4",
                "Unable to parse JSON on line 5",
                "Rejected event: [1] reason: event is not an object",
                "Committed 3. Processed 4 lines. 3 added, 1 rejected, 0 dups",
                "Writer: added: 3 dups: 0 replaced: 0 deleted: 0",
                "Done. Processed 4 lines. 3 added, 1 rejected, 0 dups",
            ]
        );
        assert_eq!((imported.status.code(), stored(strfry, node.path())), (Some(0), 3));
    });
}

#[test]
fn an_oversize_line_ends_the_import_after_what_came_before_it() {
    on_both(|strfry| {
        let node = strfry_node();
        let oversize = format!("{}\n", "x".repeat(65_536));
        let lines = golden_lines(0..6);
        let input =
            [lines[..4].concat().as_str(), oversize.as_str(), &lines[4..].concat()].concat();
        let imported = run_strfry(strfry, node.path(), &["import"], input.as_bytes());
        assert_eq!(
            report(&imported),
            [
                "Committed 4. Processed 4 lines. 4 added, 0 rejected, 0 dups",
                "Writer: added: 4 dups: 0 replaced: 0 deleted: 0",
                "strfry error: Line larger than configured maxEventSize on line 5",
            ]
        );
        assert_eq!((imported.status.code(), stored(strfry, node.path())), (Some(1), 4));
    });
}

#[test]
fn the_last_byte_of_a_line_is_lost_whether_newline_or_not() {
    on_both(|strfry| {
        let node = strfry_node();
        let input = golden_lines(0..2).concat();
        let imported = run_strfry(strfry, node.path(), &["import"], input.trim_end().as_bytes());
        assert_eq!(report(&imported)[0], "Unable to parse JSON on line 2");
        assert_eq!(stored(strfry, node.path()), 1);
    });
}

#[test]
fn after_the_debounce_it_commits_while_it_waits_for_more() {
    on_both(|strfry| {
        let node = strfry_node();
        let mut child = Command::new(strfry)
            .args(["import", "--debounce-millis=1"])
            .current_dir(node.path())
            .envs(OWN_CONFIG)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        for (number, line) in (1..).zip(golden_lines(0..2)) {
            stdin.write_all(line.as_bytes()).unwrap();
            let committed = format!("Committed 1. Processed {number} lines. {number} added");
            assert!(log.any(|line| line.contains(&committed)), "{committed}");
        }
        drop(stdin);
        assert!(log.any(|line| line.contains("Done. Processed 2 lines. 2 added")));
        assert!(child.wait().unwrap().success());
    });
}

#[test]
fn what_comes_again_is_a_duplicate() {
    on_both(|strfry| {
        let node = strfry_node();
        let import = |flags: &[&str], lines: &[String]| {
            let arguments = [&["import", "--no-verify"], flags].concat();
            report(&run_strfry(strfry, node.path(), &arguments, lines.concat().as_bytes()))
        };
        import(&[], &golden_lines(0..3));
        assert_eq!(
            import(&["--write-batch=100", "--debounce-millis", "9"], &golden_lines(0..3)),
            [
                "not verifying event IDs or signatures!",
                "Writer: added: 0 dups: 3 replaced: 0 deleted: 0",
                "Done. Processed 3 lines. 0 added, 0 rejected, 3 dups",
            ]
        );
    });
}

#[test]
fn fried_lines_are_stored_as_they_stand() {
    on_both(|strfry| {
        let node = strfry_node();
        let fried = fixture_text("strfry-1.1.1/export-fried.jsonl");
        let imported = run_strfry(strfry, node.path(), &["import", "--fried"], fried.as_bytes());
        assert_eq!(report(&imported).len(), 3);
        let exported = run_strfry(strfry, node.path(), &["export", "--fried"], b"").stdout;
        assert_eq!(String::from_utf8(exported).unwrap(), fried);
        let unfried = golden_lines(0..1).concat();
        let imported = run_strfry(strfry, node.path(), &["import", "--fried"], unfried.as_bytes());
        assert_eq!(report(&imported)[0], "Unable to parse fried JSON on line 1");
    });
}

#[test]
fn a_start_that_fails_says_why_and_reads_nothing() {
    on_both(|strfry| {
        let node = strfry_node();
        let failure = |arguments: &[&str]| {
            let failed = run_strfry(strfry, node.path(), arguments, b"");
            let error = report(&failed).pop();
            (failed.status.code(), error.unwrap_or_default())
        };
        let (code, error) = failure(&["--config", "missing.conf", "import"]);
        assert_eq!(code, Some(1));
        let expected = "strfry error: Failed to load config file 'missing.conf'";
        assert!(error.starts_with(expected), "{error}");
        assert_eq!(failure(&["frob"]), (Some(1), "strfry error: unknown command: frob".into()));
        assert_eq!(failure(&["import", "--frob"]).0, Some(255));

        std::fs::remove_dir_all(node.path().join("strfry-db")).unwrap();
        let error = "strfry error: mdb_env_open: No such file or directory";
        assert_eq!(failure(&["import"]), (Some(1), error.into()));

        if !machine_has_a_strfry_conf() {
            let mut command = Command::new(strfry);
            command.arg("scan").arg("{}").current_dir("/").env_remove("STRFRY_CONFIG");
            let error = "strfry error: please specify config file";
            assert_eq!(report(&feed(&mut command, b"")), [error]);
        }
    });
}

#[test]
fn asked_for_its_version_it_says_nothing_else() {
    on_both(|strfry| {
        let answer = run_strfry(strfry, strfry_node().path(), &["--version"], b"");
        assert!(answer.stdout.starts_with(b"strfry "), "{answer:?}");
        assert_eq!((answer.status.code(), answer.stderr), (Some(0), vec![]));
    });
}

#[test]
fn the_configuration_is_found_by_flag_then_environment_then_directory() {
    on_both(|strfry| {
        let node = strfry_node();
        let config = node.path().join("strfry.conf");
        for directory in ["flag-db", "environment-db"] {
            std::fs::create_dir(node.path().join(directory)).unwrap();
            let text = format!("db = \"{directory}\"\nrelay {{\n nofiles = 0\n}}\n");
            std::fs::write(config.with_file_name(format!("{directory}.conf")), text).unwrap();
        }
        let opened = |arguments: &[&str], environment: Option<&str>| {
            let mut command = Command::new(strfry);
            command.args(arguments).args(["scan", "{}"]).current_dir(node.path());
            command.env_remove("STRFRY_CONFIG");
            command.envs(environment.map(|path| ("STRFRY_CONFIG", path)));
            assert!(feed(&mut command, b"").status.success());
            ["flag-db", "environment-db", "strfry-db"]
                .map(|name| node.path().join(name).join("data.mdb").exists())
        };
        let environment = Some("environment-db.conf");
        assert_eq!(opened(&["--config=flag-db.conf"], environment), [true, false, false]);
        assert_eq!(opened(&[], environment), [true, true, false]);
        if !machine_has_a_strfry_conf() {
            assert_eq!(opened(&[], None), [true, true, true]);
        }
    });
}
