//! A lock file that cannot be shared: every command works without it, and says so once.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::operator::{CONF, DATABASE, Operator, Said};
use crate::support::strfry_bin;
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

const OTHER_LIBC: &str = "reading without strfry's lock file: a program built \
                          with musl has initialised ROOT/srv/strfry-db/lock.mdb, and this one is \
                          built with glibc\n";
const MISSING: &str = "reading without strfry's lock file: ROOT/srv/strfry-db \
                       has no lock.mdb\n";

fn flags(operator: &Operator, strfry: &Path) -> Vec<String> {
    let (conf, strfry) = (operator.shown(CONF), strfry.display().to_string());
    ["--strfry-config", &conf, "--strfry-bin", &strfry].map(str::to_owned).into()
}

#[test]
fn what_imports_works_whatever_the_lock_file_is() {
    with_each_strfry(|strfry| {
        for (spoil, why) in
            [(lock_file_of_musl as fn(&Operator), OTHER_LIBC), (without_lock_file, MISSING)]
        {
            let operator = Operator::new(strfry);
            let flags = flags(&operator, strfry);
            spoil(&operator);
            let said = operator.said(operator.backfill(&[]).args(&flags));
            assert_eq!((said.code, said.err), (0, format!("[WARN] {why}")), "{}", said.out);
            assert_eq!(operator.stored().len(), operator.events.len());

            let operator = Operator::new(strfry);
            let flags = self::flags(&operator, strfry);
            spoil(&operator);
            let said = operator.said(operator.import(&[]).args(&flags));
            assert_eq!((said.code, said.err), (0, format!("strfry-companion: {why}")));
            assert_eq!(operator.stored().len(), operator.events.len());
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
        let why = "[WARN] reading without strfry's lock file: \
                   ROOT/volume/lock.mdb is on a read-only file system\n";
        assert_eq!((said.code, said.err.as_str()), (0, why), "{}", said.out);
        assert_eq!(operator.stored().len(), operator.events.len());
        let scan = read_only(operator.companion(&["scan", "--count", "{}", "--db"]).arg(&volume))
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&scan.stdout), format!("{}\n", operator.events.len()));
    });
}
