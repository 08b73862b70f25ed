//! Two containers' worth of namespaces, without a container engine: strfry is process 1 of one, with
//! a relay that runs; the program is in the other, and asks a third relay.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;

use crate::operator::{CONF, DATABASE, Operator};
use crate::support::{NO_STRFRY, real_strfry};

/// Run in a namespace of its own. `$1` strfry's directory, `$2` strfry, `$3` the port of its relay,
/// `$4` where the program sees the database, `$5` how that is mounted; then the program.
const SCRIPT: &str = r#"
set -e
directory=$1 strfry=$2 port=$3 volume=$4 mode=$5; shift 5
cd "$directory"
STRFRY_CONFIG=strfry.conf unshare --pid --fork --mount --mount-proc --kill-child "$strfry" relay 2>../relay.log &
until grep -qs "Started websocket server" ../relay.log; do sleep 0.02; done
relay=$(pgrep -P $!)
test "$(nsenter -t $relay -p -m cat /proc/1/comm)" = strfry
mkdir -p "$volume"
mount --bind strfry-db "$volume"
mount -o "remount,bind,$mode" "$volume"
"$@" --strfry-command "nsenter -t $relay -p -m env --chdir=$directory STRFRY_CONFIG=strfry.conf $strfry"
code=$?
kill $relay
exit $code
"#;

fn in_namespaces(operator: &Operator, strfry: &Path, mode: &str, program: &Command) -> Command {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let conf = format!(
        "db = \"./strfry-db/\"\nrelay {{\n bind = \"127.0.0.1\"\n port = {port}\n nofiles = 0\n}}\n"
    );
    operator.write(CONF, &conf);
    let mut unshare = Command::new("unshare");
    unshare
        .args(["--user", "--map-root-user", "--pid", "--fork", "--mount", "--mount-proc"])
        .args(["--kill-child", "sh", "-c", SCRIPT, "sh"])
        .arg(operator.at("srv"))
        .arg(strfry)
        .arg(port.to_string())
        .arg(operator.at("volume"))
        .arg(mode)
        .arg(program.get_program())
        .args(program.get_args())
        .env("HOME", operator.at("home"))
        .current_dir(operator.at("here"));
    unshare
}

#[test]
fn a_strfry_that_is_process_1_of_its_container_gets_everything_from_a_third_relay() {
    let Some(strfry) = real_strfry() else { return println!("{NO_STRFRY}") };
    let strfry = std::path::absolute(strfry).unwrap();
    let possible = Command::new("unshare")
        .args(["--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "true"])
        .output();
    if !possible.is_ok_and(|made| made.status.success()) {
        return println!("skipped: no namespaces can be made here");
    }
    for (mode, lock) in [("rw", "auto"), ("rw", "shared"), ("rw", "none"), ("ro", "auto")] {
        let operator = Operator::new(&strfry);
        let volume = operator.shown("volume");
        let program = operator.backfill(&["--db", &volume, "--lock", lock]);
        let said = operator.said(&mut in_namespaces(&operator, &strfry, mode, &program));
        assert_eq!(said.code, 0, "{mode} {lock}: {said:?}");
        assert!(said.out.starts_with("Complete: 41 events imported,"), "{mode} {lock}: {said:?}");
        assert_eq!(said.err, "", "{mode} {lock}");
        assert_eq!(operator.stored().len(), 41, "{} {lock}", operator.shown(DATABASE));
    }
}
