//! strfry's lock file: what waits for others never has a part in it, and what only reads works
//! without it where it cannot be shared, and says so once.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::operator::{CONF, DATABASE, Operator, Said};
use crate::support::raw::RawDatabase;
use crate::support::wait::until;
use crate::support::{run_strfry, strfry_bin};
use crate::with_each_strfry;

/// Magic number, format, and the type that musl gives a robust shared mutex.
fn lock_file_of_musl(operator: &Operator) {
    let mut header = [0xBEEF_C0DE_u32, 0x1_0001, 132].map(u32::to_ne_bytes).concat();
    header.resize(8_192, 0);
    fs::write(operator.at(DATABASE).join("lock.mdb"), header).unwrap();
}

fn without_lock_file(operator: &Operator) {
    fs::remove_file(operator.at(DATABASE).join("lock.mdb")).unwrap();
}

fn flags(operator: &Operator, strfry: &Path) -> Vec<String> {
    let (conf, strfry) = (operator.shown(CONF), strfry.display().to_string());
    ["--strfry-config", &conf, "--strfry-bin", &strfry].map(str::to_owned).into()
}

#[test]
fn what_waits_works_whatever_the_lock_file_is_and_never_touches_it() {
    with_each_strfry(|strfry| {
        for spoil in [lock_file_of_musl as fn(&Operator), without_lock_file] {
            let operator = Operator::new(strfry);
            let flags = flags(&operator, strfry);
            spoil(&operator);
            let lock = || fs::read(operator.at(DATABASE).join("lock.mdb")).ok();
            let before = lock();
            let url = operator.relay.url();
            let mut diff = operator.companion(&["diff", "--days", "0", "--relay", &url]);
            diff.arg("--pubkeys").arg(operator.at("pubkeys"));
            for command in [&mut diff, &mut operator.backfill(&["--dry-run"])] {
                let said = operator.said(command.args(&flags[..2]));
                assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
                assert_eq!(lock(), before);
            }
            operator.assert_complete(operator.backfill(&[]).args(&flags));

            let operator = Operator::new(strfry);
            let flags = self::flags(&operator, strfry);
            spoil(&operator);
            let said = operator.said(operator.import(&[]).args(&flags));
            assert_eq!((said.code, said.err.as_str()), (0, ""));
            assert_eq!(operator.stored().len(), operator.events.len());
        }
    });
}

/// As an operator does it, who forgets that something is running. Whether strfry takes the new file
/// for an empty one depends on the number of commits of the old one being even or odd.
#[test]
fn a_database_that_is_replaced_while_an_import_waits_for_its_input_stays_whole() {
    with_each_strfry(|strfry| {
        for extra_commits in 0..2 {
            let operator = Operator::new(strfry);
            let (extra, rest) = operator.events.split_at(2);
            let feed = |events: &[String]| {
                let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
                let output = run_strfry(strfry, &operator.at("srv"), &["import"], lines.as_bytes());
                assert!(output.status.success(), "{output:?}");
            };
            feed(rest);
            extra.iter().take(extra_commits).for_each(|event| feed(std::slice::from_ref(event)));
            let before = operator.stored().len();

            let mut import = operator.companion(&["import"]);
            import.args(flags(&operator, strfry)).stdin(Stdio::piped()).stdout(Stdio::null());
            let mut import = import.stderr(Stdio::null()).spawn().unwrap();
            let mut input = import.stdin.take().unwrap();
            writeln!(input, "{}", rest[0]).unwrap();
            let process = PathBuf::from(format!("/proc/{}", import.id()));
            let has_open = |file: std::io::Result<fs::DirEntry>| {
                let target = file.and_then(|file| fs::read_link(file.path()));
                target.is_ok_and(|target| target.ends_with("data.mdb"))
            };
            until("the database is open", || {
                fs::read_to_string(process.join("maps")).unwrap().contains("/data.mdb")
                    || fs::read_dir(process.join("fd")).unwrap().any(has_open)
            });
            let (new, data) = (operator.at("new.mdb"), operator.at(DATABASE).join("data.mdb"));
            RawDatabase::open(&operator.at(DATABASE)).compact_to(&new);
            fs::rename(new, data).unwrap();
            feed(&extra[1..]);
            import.kill().unwrap();
            import.wait().unwrap();
            assert_eq!(operator.stored().len(), before + 1, "{extra_commits} more commits");
        }
    });
}

#[test]
fn without_the_lock_file_because_that_is_wanted_nothing_is_said() {
    with_each_strfry(|strfry| {
        for how in [&["--lock", "none"][..], &["--no-lock"]] {
            let operator = Operator::new(strfry);
            let flags = flags(&operator, strfry);
            let said = operator.said(operator.import(how).args(&flags));
            assert_eq!((said.code, said.err.as_str()), (0, ""));
            operator.said(operator.backfill(how).args(&flags));
            assert_eq!(operator.stored().len(), operator.events.len());
            let diff = operator.said(
                operator
                    .companion(&["diff", "--days", "0", "--relay", &operator.relay.url()])
                    .args(how)
                    .args(&flags[..2])
                    .arg("--pubkeys")
                    .arg(operator.at("pubkeys")),
            );
            assert_eq!((diff.code, diff.err.as_str()), (0, ""), "{}", diff.out);
        }
    });
}

#[test]
fn a_lock_file_that_must_be_shared_and_cannot_be_is_an_error() {
    let operator = Operator::new(&strfry_bin());
    let flags = flags(&operator, &strfry_bin());
    lock_file_of_musl(&operator);
    let import = operator.said(operator.import(&["--lock", "shared"]).args(&flags));
    assert!(import.err.contains("a program built with musl has initialised it"), "{import:?}");
    assert_eq!((import.code, import.out.as_str()), (3, ""));
    without_lock_file(&operator);
    for command in [
        &["stats"][..],
        &["scan", "{}"],
        &["export"],
        &["verify"],
        &["profiles", "--pubkeys", "../pubkeys"],
        &["import"],
    ] {
        let mut command = operator.companion(command);
        let said = operator.said(command.args(["--lock", "shared"]).args(&flags[..2]));
        let expected = "strfry-companion: cannot share strfry's lock file: ROOT/srv/strfry-db has \
                        no lock.mdb; start strfry once, or leave out --lock\n";
        assert_eq!(said, Said { code: 3, out: String::new(), err: expected.into() });
    }
    assert!(operator.stored().is_empty());
}

/// strfry reserves 10 TiB of it.
#[test]
fn in_little_address_space_the_lock_file_is_shared() {
    with_each_strfry(|strfry| {
        let operator = Operator::new(strfry);
        let flags = flags(&operator, strfry);
        assert_eq!(operator.said(operator.import(&[]).args(&flags)).code, 0);
        let scan = operator.companion(&["scan", "--count", "{}"]);
        let mut limited = Command::new("sh");
        limited.args(["-c", "ulimit -v 4000000 && exec \"$@\"", "sh"]).arg(scan.get_program());
        limited.args(scan.get_args()).args(&flags[..2]).env("HOME", operator.at("home"));
        let out = format!("{}\n", operator.events.len());
        let expected = Said { code: 0, out, err: String::new() };
        assert_eq!(operator.said(&mut limited), expected);
        assert_eq!(operator.said(limited.args(["--lock", "shared"])), expected);
    });
}

/// As a container's volume is mounted that only reads.
#[test]
fn a_read_only_volume_is_read_while_strfry_writes_it_elsewhere() {
    with_each_strfry(|strfry| {
        let operator = Operator::new(strfry);
        fs::create_dir(operator.at("volume")).unwrap();
        let mount =
            "mount --bind \"$0\" \"$1\" && mount -o remount,bind,ro \"$1\" && shift && exec \"$@\"";
        let read_only = |command: &Command| {
            let mut unshare = Command::new("unshare");
            unshare.args(["--user", "--map-root-user", "--mount", "sh", "-c", mount]);
            unshare.arg(operator.at(DATABASE)).arg(operator.at("volume"));
            unshare.arg(command.get_program()).args(command.get_args());
            unshare.env("HOME", operator.at("home")).current_dir(operator.at("here"));
            unshare
        };
        if operator.said(&mut read_only(&Command::new("true"))).code != 0 {
            return println!("skipped: no mount namespace can be made here");
        }
        let reach = format!("{} --config {}", strfry.display(), operator.shown("conf"));
        operator.write(
            "conf",
            &format!("db = \"{}\"\nrelay {{\n nofiles = 0\n}}\n", operator.shown(DATABASE)),
        );
        let volume = operator.shown("volume");
        let flags = ["--db", &volume, "--strfry-command", &reach];
        let said = operator.said(&mut read_only(&operator.backfill(&flags)));
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
        assert_eq!(operator.stored().len(), operator.events.len());
        let scan = read_only(operator.companion(&["scan", "--count", "{}", "--db"]).arg(&volume))
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&scan.stdout), format!("{}\n", operator.events.len()));
        let why = "reading without strfry's lock file: ROOT/volume/lock.mdb is on a read-only file \
                   system\n";
        let why = why.replace("ROOT", &operator.root.path().to_string_lossy());
        assert_eq!(String::from_utf8_lossy(&scan.stderr), format!("strfry-companion: {why}"));
    });
}
