//! strfry behind a command: what stands in for `docker exec`, what cannot be used as one, and a
//! command that reaches another strfry than that of the database.

use serde_json::json;

use crate::operator::{CONF, DATABASE, Operator, Said};
use crate::support::events::{Author, events};
use crate::support::strfry_bin;
use crate::with_each_strfry;

#[test]
fn a_strfry_that_only_a_command_reaches_is_given_everything() {
    with_each_strfry(|strfry| {
        let words = |operator: &Operator| {
            // Without a shell: env(1) does what docker does with its arguments.
            let conf = operator.at(CONF);
            let directory = operator.at("srv").display().to_string();
            let strfry = strfry.display();
            format!("env -i --chdir='{directory}' STRFRY_CONFIG='{}' \"{strfry}\"", conf.display())
        };
        let operator = Operator::new(strfry);
        let (database, command) = (operator.shown(DATABASE), words(&operator));
        let flags = ["--db", &database, "--strfry-command", &command];
        operator.assert_complete(&mut operator.backfill(&flags));
        let operator = Operator::new(strfry);
        let (database, command) = (operator.shown(DATABASE), words(&operator));
        let flags = ["--db", &database, "--strfry-command", &command];
        operator.assert_complete(&mut operator.import(&flags));
    });
}

#[test]
fn its_words_may_name_a_configuration_as_it_is_seen_there() {
    let operator = Operator::new(&strfry_bin());
    // In the container `db` is another path; here `--db` says where it is.
    let there = "db = \"/app/strfry-db/\"\nevents {\n    maxEventSize = 1000\n}\n";
    let seen_here = operator.write("seen-here.conf", there);
    let script = "test \"$1 $2\" = '--config /etc/strfry.conf' || exit 9; shift 2
        exec \"$STRFRY\" --config \"$CONF\" \"$@\"";
    let script = operator.script("docker", script);
    let command = format!("{} --config /etc/strfry.conf", script.display());
    let database = operator.shown(DATABASE);
    let large = Author::new(9).note(5, &"x".repeat(2_000));
    let lines = [operator.events.clone(), vec![large]].concat().join("\n");
    let file = operator.write("with-a-large-one", &lines);
    let mut import =
        operator.companion(&["import", "--db", &database, "--strfry-command", &command]);
    import.arg("--strfry-config").arg(seen_here).arg(file);
    import
        .env("STRFRY", &operator.strfry)
        .env("CONF", operator.at(CONF))
        .current_dir(operator.at("srv"));
    let (code, summary) = operator.summary(&mut import);
    // The limits are those of the configuration that is named.
    assert_eq!(
        (code, &summary["events"]),
        (1, &json!({ "imported": 41, "oversize": 1 })),
        "{summary:#}"
    );
}

#[test]
fn a_command_that_cannot_be_found_or_executed_is_an_error_that_says_what_to_do() {
    let operator = Operator::new(&strfry_bin());
    let database = operator.shown(DATABASE);
    let text = operator.write("text", "no program");
    let missing = "cannot start strfry (no-docker): no directory of PATH has it; correct the first \
                   word of --strfry-command";
    let not_there = "cannot start strfry (./docker): No such file or directory (os error 2); \
                     correct the first word of --strfry-command";
    let not_executable =
        "ROOT/text is not an executable file; correct the first word of --strfry-command";
    for (words, expected) in [
        ("no-docker exec -i relay strfry", missing),
        ("./docker exec -i relay strfry", not_there),
        (&format!("{} exec", text.display()), not_executable),
    ] {
        let flags = ["--db", &database, "--strfry-command", words];
        let said = operator.said(&mut operator.import(&flags));
        let err = format!("strfry-companion: {expected}\n");
        assert_eq!(said, Said { code: 3, out: String::new(), err });
        let said = operator.said(&mut operator.backfill(&flags));
        assert_eq!(
            said,
            Said { code: 3, out: String::new(), err: format!("[ERROR] {expected}\n") }
        );
    }
    assert_eq!(operator.relay.record().connections, 0);
}

#[test]
fn what_only_a_shell_would_understand_is_refused() {
    let operator = Operator::new(&strfry_bin());
    for (words, expected) in [
        (
            "docker exec -i $RELAY strfry",
            "$ means something to a shell, and no shell reads this; put \
          it in single quotes if it is meant as it stands, or name a script of your own",
        ),
        (
            "cat > log; strfry",
            "> means something to a shell, and no shell reads this; put it in \
          single quotes if it is meant as it stands, or name a script of your own",
        ),
        ("ssh 'host", "the quote ' is not closed; close it, or write \\' for the character itself"),
        ("", "it names no program; write it as in 'docker exec -i relay /app/strfry'"),
        (
            "docker exec -i relay strfry import",
            "leave out the last word: 'import' is appended to it",
        ),
    ] {
        for command in ["import", "backfill"] {
            let said = operator.said(&mut operator.companion(&[
                command,
                "--strfry-command",
                words,
                "--db",
                "x",
            ]));
            let err = format!("strfry-companion: cannot use --strfry-command: {expected}\n");
            assert_eq!(said, Said { code: 2, out: String::new(), err });
        }
    }
    let both = ["import", "--strfry-command", "a", "--strfry-bin", "b"];
    assert_eq!(operator.said(&mut operator.companion(&both)).code, 2);
}

#[test]
fn what_a_container_engine_says_instead_of_strfry_is_quoted() {
    let operator = Operator::new(&strfry_bin());
    let docker = "echo 'Error response from daemon: No such container: relay' >&2; exit 1";
    let docker = operator.script("docker", docker).display().to_string();
    let (database, command) = (operator.shown(DATABASE), format!("{docker} exec -i relay strfry"));
    let flags = ["--db", &database, "--strfry-command", &command];
    let (code, summary) = operator.summary(&mut operator.import(&flags));
    assert_eq!((code, &summary["events"]), (3, &json!({ "not_confirmed": 41 })), "{summary:#}");
    let error = summary["errors"].as_array().unwrap().last().unwrap().as_str().unwrap();
    let expected = "cannot import: strfry import ended with exit status: 1; its last lines: Error \
                    response from daemon: No such container: relay";
    assert_eq!(error, expected);
}

/// A command that reaches a strfry with a database of its own.
fn elsewhere(operator: &Operator) -> String {
    let conf = format!("db = \"{}\"\nrelay {{\n nofiles = 0\n}}\n", operator.shown("other"));
    let conf = operator.write("other.conf", &conf);
    std::fs::create_dir_all(operator.at("other")).unwrap();
    format!("{} --config {}", operator.strfry.display(), conf.display())
}

#[test]
fn a_command_that_reaches_another_strfry_is_found_out_and_nothing_is_claimed() {
    with_each_strfry(|strfry| {
        let operator = Operator::new(strfry);
        let (database, command) = (operator.shown(DATABASE), elsewhere(&operator));
        let flags = ["--db", &database, "--strfry-command", &command];
        let expected = format!(
            "strfry says that it added 41 events and held 0 before, and the database at {database} \
             holds none of them: it writes into another database; check which strfry, and which \
             configuration of it, '{command}' reaches"
        );
        let (code, summary) = operator.summary(&mut operator.import(&flags));
        assert_eq!((code, &summary["events"]), (1, &json!({ "not_confirmed": 41 })));
        assert_eq!(summary["errors"], json!([expected]));
        // By now it has them all, elsewhere; and what is not here is owed, in every run.
        for _ in 0..2 {
            let (code, summary) = operator.summary(&mut operator.backfill(&flags));
            let classes = [&summary["events"]["not_confirmed"], &summary["events"]["imported"]];
            assert_eq!((code, classes), (1, [&json!(41), &json!(null)]), "{summary:#}");
            let error = summary["errors"][0].as_str().unwrap();
            let words = "strfry says that it added 0 events and held 41 before, and the database";
            assert!(error.starts_with(words), "{error}");
            assert_eq!(summary["profiles"]["found"], 0);
        }
        assert!(operator.stored().is_empty());
    });
}

/// Events that are small: it is not the room for them that ends it.
#[test]
fn another_strfry_is_given_no_more_once_its_first_commit_has_been_looked_for() {
    let operator = Operator::new(&strfry_bin());
    let author = Author::new(1);
    let notes = events(60_000, |number| author.note(number, "hello"));
    let file = operator.write("many", &format!("{}\n", notes.join("\n")));
    let (database, command) = (operator.shown(DATABASE), elsewhere(&operator));
    let mut import =
        operator.companion(&["import", "--db", &database, "--strfry-command", &command]);
    let (code, summary) = operator.summary(import.arg("--no-verify").arg(file));
    assert_eq!((code, &summary["status"]), (3, &"failed".into()), "{summary:#}");
    let error = summary["errors"][0].as_str().unwrap();
    assert!(error.starts_with("cannot import: strfry says that it added "), "{error}");
    let given = summary["events"]["not_confirmed"].as_u64().unwrap();
    assert!((2_000..14_000).contains(&given), "{summary:#}");
    assert_eq!(summary["events"].get("imported"), None);
}
