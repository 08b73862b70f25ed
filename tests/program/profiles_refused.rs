//! `profiles` asked for nothing, for what is no pubkey, of the wrong database, or by nobody who
//! listens.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use bech32::{Bech32, Hrp};

use crate::profiles::{authors, npub, on, profiles};
use crate::said::Said;
use crate::support::golden_database;

#[test]
fn a_reader_that_has_seen_enough_ends_the_program_quietly() {
    let database = golden_database("strfry-1.1.1");
    let list = database.path().join("list.txt");
    // More than a pipe holds.
    let pubkeys: String = (0..3_000).map(|number| format!("{number:064x}\n")).collect();
    fs::write(&list, pubkeys).unwrap();
    for (code, flags) in [
        (0, ["--format", "table"]),
        (0, ["--format", "jsonl"]),
        (0, ["--format", "json"]),
        (0, ["--format", "csv"]),
        (1, ["--missing", "--check"]),
        (1, ["--format=jsonl", "--check"]),
    ] {
        let mut command = on(database.path(), &flags);
        command.arg("--pubkeys").arg(&list).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        let mut out = BufReader::with_capacity(1, child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'));
        drop(out);
        let mut err = String::new();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        assert_eq!((child.wait().unwrap().code(), err.as_str()), (Some(code), ""), "{flags:?}");
    }
}

#[test]
fn nobody_listening_to_the_error_does_not_change_the_exit_code() {
    let database = golden_database("strfry-0.9.7");
    let mut command = on(database.path(), &[&authors()[0]]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(command.stderr(writer).status().unwrap().code(), Some(3));
}

#[test]
fn without_any_pubkey_it_says_how_to_name_some() {
    let database = golden_database("strfry-1.1.1");
    let no_pubkeys = Said::refusal(
        2,
        "strfry-companion: no pubkeys: name some, or a file with --pubkeys, or the node's home with \
         --home\n",
    );
    assert_eq!(profiles(database.path(), &[]), no_pubkeys);
    assert_eq!(profiles(database.path(), &["--pubkeys", "/dev/null"]), no_pubkeys);
    let mut command = on(database.path(), &["--pubkeys"]);
    command.arg(database.path().join("absent"));
    assert_eq!(
        Said::by(&mut command, database.path()),
        Said::refusal(
            2,
            "strfry-companion: cannot read the list of pubkeys \"HOME/absent\": No such file or \
             directory (os error 2); check the name given with --pubkeys\n"
        )
    );
}

#[test]
fn what_is_no_pubkey_is_named_by_its_place_because_it_may_be_a_secret_key() {
    let database = golden_database("strfry-1.1.1");
    let author = &authors()[0];
    let nsec = bech32::encode::<Bech32>(Hrp::parse("nsec").unwrap(), &[7; 32]).unwrap();
    let secret_key = "this is a secret key (nsec), not a pubkey: never put it in a list or on a \
                      command line";
    let no_pubkey = "not a pubkey: expected 64 hex digits, an npub or an nprofile";
    let bad_npub = "not a valid npub: its checksum, length or characters are wrong";
    let broken = npub(author).replace("npub1", "npub1q");
    for (text, problem) in [
        (nsec.as_str(), secret_key),
        (&nsec.to_uppercase(), secret_key),
        (&author[1..], no_pubkey),
        ("", no_pubkey),
        (&format!("x{nsec}"), no_pubkey),
        (&broken, bad_npub),
    ] {
        assert_eq!(
            profiles(database.path(), &[author, text]),
            Said::refusal(
                2,
                format!("strfry-companion: PUBKEY number 2 of the command line: {problem}\n")
            )
        );
    }
}

#[test]
fn a_key_in_the_place_of_a_file_is_not_repeated() {
    let database = golden_database("strfry-1.1.1");
    let nsec = bech32::encode::<Bech32>(Hrp::parse("nsec").unwrap(), &[7; 32]).unwrap();
    assert_eq!(
        profiles(database.path(), &["--pubkeys", &nsec]),
        Said::refusal(
            2,
            "strfry-companion: --pubkeys takes a file: this is a secret key (nsec), not a pubkey: \
             never put it in a list or on a command line\n"
        )
    );
    assert_eq!(
        profiles(database.path(), &["--pubkeys", &authors()[0]]),
        Said::refusal(
            2,
            "strfry-companion: --pubkeys takes a file, and this is a pubkey: name it with --pubkey\n"
        )
    );
}

#[test]
fn a_database_of_version_2_is_refused_with_strfrys_advice() {
    let database = golden_database("strfry-0.9.7");
    assert_eq!(
        profiles(database.path(), &[&authors()[0]]),
        Said::refusal(
            3,
            "strfry-companion: HOME/data.mdb has DB version 2, older than the supported version 3: \
             'strfry export' your events with the old strfry, move the database files away, and \
             'strfry import' them with the new one\n"
        )
    );
}
