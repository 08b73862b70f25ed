//! A database that no strfry has opened yet.

use std::fs;

use crate::operator::{CONF, DATABASE, Operator, Said};
use crate::support::strfry_bin;
use crate::with_each_strfry;

fn untouched(operator: &Operator) {
    fs::remove_dir_all(operator.at(DATABASE)).unwrap();
    fs::create_dir(operator.at(DATABASE)).unwrap();
}

const NEWS: &str =
    "ROOT/srv/strfry-db holds no database yet: strfry makes one (strfry import of nothing)\n";

#[test]
fn strfry_makes_the_database_and_a_line_says_so() {
    with_each_strfry(|strfry| {
        let operator = Operator::new(strfry);
        let flags =
            ["--strfry-config", &operator.shown(CONF), "--strfry-bin", strfry.to_str().unwrap()];
        untouched(&operator);
        let said = operator.said(&mut operator.import(&flags));
        assert_eq!((said.code, said.err), (0, format!("strfry-companion: {NEWS}")));
        assert_eq!(operator.stored().len(), operator.events.len());
        untouched(&operator);
        let said = operator.said(&mut operator.backfill(&flags));
        assert_eq!((said.code, said.err), (0, format!("[WARN] {NEWS}")));
        assert_eq!(operator.stored().len(), operator.events.len());
    });
}

#[test]
fn a_run_that_imports_nothing_makes_no_database() {
    let operator = Operator::new(&strfry_bin());
    let flags = [
        "--strfry-config",
        &operator.shown(CONF),
        "--strfry-bin",
        operator.strfry.to_str().unwrap(),
    ];
    untouched(&operator);
    let err = "no database at ROOT/srv/strfry-db/data.mdb: start strfry once, or name its directory \
               with --db\n";
    let said = operator.said(operator.import(&flags).arg("--dry-run"));
    assert_eq!(said, Said { code: 3, out: String::new(), err: format!("strfry-companion: {err}") });
    let said = operator.said(operator.backfill(&flags).arg("--dry-run"));
    assert_eq!(said, Said { code: 3, out: String::new(), err: format!("[ERROR] {err}") });
    assert!(operator.names(DATABASE).is_empty());
}

/// A lock file alone says that somebody has taken the data away, which is not to be hidden.
#[test]
fn a_database_whose_data_is_gone_is_not_made_anew() {
    let operator = Operator::new(&strfry_bin());
    let flags = [
        "--strfry-config",
        &operator.shown(CONF),
        "--strfry-bin",
        operator.strfry.to_str().unwrap(),
    ];
    fs::remove_file(operator.at(DATABASE).join("data.mdb")).unwrap();
    let said = operator.said(&mut operator.import(&flags));
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.err.contains("no database at ROOT/srv/strfry-db/data.mdb"), "{said:?}");
    assert!(!operator.at(DATABASE).join("data.mdb").exists());
}

#[test]
fn a_strfry_that_makes_its_database_elsewhere_or_fails_is_found_out_before_any_peer_is_asked() {
    let operator = Operator::new(&strfry_bin());
    untouched(&operator);
    let conf = operator.write("other.conf", &format!("db = \"{}\"\n", operator.shown("here")));
    let database = operator.shown(DATABASE);
    let command = format!("{} --config {}", operator.strfry.display(), conf.display());
    let flags = ["--db", &database, "--strfry-command", &command];
    let said = operator.said(&mut operator.backfill(&flags));
    assert_eq!((said.code, said.out.as_str()), (3, ""));
    let expected = format!(
        "[WARN] {NEWS}[ERROR] strfry was to make a database in ROOT/srv/strfry-db and has made none \
         there: it uses another one; check which strfry, and which configuration of it, "
    );
    assert!(said.err.starts_with(&expected), "{}", said.err);
    let said = operator.said(operator.backfill(&flags).env("STAND_IN_FAIL_START", "disk full"));
    assert!(said.code == 3 && said.err.contains("strfry error: disk full"), "{said:?}");
    let script = operator.script("sleeps", "exec sleep 100").display().to_string();
    let flags = ["--db", &database, "--strfry-command", &script, "--strfry-timeout", "1"];
    let said = operator.said(&mut operator.import(&flags));
    assert!(said.code == 3 && said.err.contains("did nothing for 1 s and was ended"), "{said:?}");
    assert_eq!(operator.relay.record().connections, 0);
}
