//! `profiles`: who has a kind 0 and what is in it, against what strfry exported and scanned.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use bech32::{Bech32, Hrp};
use serde_json::{Value, json};
use strfry_companion::nostr::Pubkey;

use crate::said::{Said, companion};
use crate::support::{feed, fixture_json_lines, fixture_text, golden_database};

const DATABASES: [&str; 3] = ["strfry-1.1.1", "strfry-1.0.4", "strfry-1.1.1-dict"];

pub fn authors() -> Vec<String> {
    fixture_text("authors.txt").lines().map(str::to_owned).collect()
}

pub fn npub(hex: &str) -> String {
    let pubkey: Pubkey = hex.parse().unwrap();
    bech32::encode::<Bech32>(Hrp::parse("npub").unwrap(), pubkey.as_bytes()).unwrap()
}

/// The profile of each author that strfry exported last, which is the newest.
fn exported_profiles(database: &str) -> HashMap<String, Value> {
    let events = fixture_json_lines(&format!("{database}/export.jsonl"));
    let profiles = events.into_iter().filter(|event| event["kind"] == 0);
    profiles.map(|event| (event["pubkey"].as_str().unwrap().to_owned(), event)).collect()
}

fn expected_row(pubkey: &str, event: Option<&Value>) -> Value {
    let content: Value = event
        .and_then(|event| serde_json::from_str(event["content"].as_str().unwrap()).ok())
        .unwrap_or_default();
    let text = |key: &str| content.get(key).filter(|field| field.is_string()).cloned();
    let display_name = text("display_name").or_else(|| text("displayName"));
    json!({
        "pubkey": pubkey,
        "found": event.is_some(),
        "id": event.map(|event| &event["id"]),
        "created_at": event.map(|event| &event["created_at"]),
        "name": text("name"),
        "display_name": display_name,
        "nip05": text("nip05"),
        "about": text("about"),
        "picture": text("picture"),
        "website": text("website"),
    })
}

fn expected_rows(database: &str, pubkeys: &[String]) -> Vec<Value> {
    let profiles = exported_profiles(database);
    pubkeys.iter().map(|pubkey| expected_row(pubkey, profiles.get(pubkey))).collect()
}

/// `profiles` on this database; the database's directory is `HOME` in what it says.
pub fn profiles(database: &Path, arguments: &[&str]) -> Said {
    Said::by(&mut on(database, arguments), database)
}

pub fn on(database: &Path, arguments: &[&str]) -> Command {
    let mut command = companion(&["profiles", "--db"]);
    command.arg(database).args(arguments);
    command
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn success(out: impl Into<String>) -> Said {
    Said { code: 0, out: out.into(), err: String::new() }
}

#[test]
fn every_author_of_every_golden_database_gets_what_strfry_exported_and_scanned() {
    for name in DATABASES {
        let database = golden_database(name);
        let authors = authors();
        let mut arguments = vec!["--format", "jsonl"];
        arguments.extend(authors.iter().map(String::as_str));
        let said = profiles(database.path(), &arguments);
        assert_eq!((said.code, said.err.as_str()), (0, ""));
        let rows = json_lines(&said.out);
        assert_eq!(rows, expected_rows(name, &authors), "{name}");

        let scans = fixture_json_lines(&format!("{name}/scans.jsonl"));
        let scan = scans.iter().find(|scan| scan["filter"] == json!({ "kinds": [0] })).unwrap();
        let mut scanned: Vec<&Value> = scan["ids"].as_array().unwrap().iter().collect();
        let mut found: Vec<&Value> =
            rows.iter().map(|row| &row["id"]).filter(|id| !id.is_null()).collect();
        scanned.sort_by_key(ToString::to_string);
        found.sort_by_key(ToString::to_string);
        assert_eq!(found, scanned, "{name}");
    }
}

#[test]
fn pubkeys_in_any_form_keep_their_order_and_count_once() {
    let database = golden_database("strfry-1.1.1");
    let mut authors = authors();
    authors.reverse();
    let forms = authors.iter().enumerate().map(|(number, author)| match number % 3 {
        0 => author.clone(),
        1 => author.to_uppercase(),
        _ => npub(author),
    });
    let mut mixed: Vec<String> = forms.collect();
    mixed.extend([npub(&authors[0]), authors[1].clone(), npub(&authors[2]).to_uppercase()]);
    let mut arguments = vec!["--format", "jsonl"];
    arguments.extend(mixed.iter().map(String::as_str));
    let said = profiles(database.path(), &arguments);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    assert_eq!(json_lines(&said.out), expected_rows("strfry-1.1.1", &authors));
}

#[test]
fn lists_are_read_from_files_and_standard_input_and_say_what_they_skip() {
    let database = golden_database("strfry-1.1.1");
    let authors = authors();
    let [a, b, c, d] = [&authors[3], &authors[2], &authors[1], &authors[0]];
    let list = database.path().join("list.txt");
    let upper = b.to_uppercase();
    let text = format!("\u{feff}{a}\r\n# remark\r\njunk\r\n\r\n  {upper}\t\r\n{a}\r\nnsec1abc\r\n");
    fs::write(&list, text).unwrap();
    let mut command = on(database.path(), &["--format", "jsonl", d, "--pubkeys"]);
    command.arg(&list).args(["--pubkeys", "-"]);
    let input = format!("{}\n{b}\n{}", npub(c), "x".repeat(100_000));
    let said = Said::of(&feed(&mut command, input.as_bytes()), database.path());
    assert_eq!(
        json_lines(&said.out),
        expected_rows("strfry-1.1.1", &[d, a, b, c].map(String::clone))
    );
    assert_eq!(
        (said.code, said.err.as_str()),
        (
            0,
            "strfry-companion: warning: HOME/list.txt: 2 lines skipped, the first is line 3: not a \
             pubkey: expected 64 hex digits, an npub or an nprofile; 1 line repeated\n\
             strfry-companion: warning: standard input: 1 line skipped, the first is line 3: too \
             long for a pubkey\n"
        )
    );
}

#[test]
fn missing_pubkeys_are_listed_and_a_check_exits_with_1_only_if_there_are_any() {
    for name in DATABASES {
        let database = golden_database(name);
        let authors = authors();
        let profiles_of = exported_profiles(name);
        let (with, without): (Vec<&str>, Vec<&str>) = authors
            .iter()
            .map(String::as_str)
            .partition(|author| profiles_of.contains_key(*author));
        assert!(!with.is_empty() && !without.is_empty());
        let missing: String = without.iter().map(|author| format!("{author}\n")).collect();
        let run = |flags: &[&str], authors: &[&str]| {
            profiles(database.path(), &[flags, authors].concat())
        };
        let all: Vec<&str> = authors.iter().map(String::as_str).collect();
        assert_eq!(run(&["--missing"], &all), success(&missing));
        assert_eq!(run(&["--missing", "--check"], &all), Said { code: 1, ..success(&missing) });
        assert_eq!(run(&["--missing", "--check"], &with), success(""));
        for format in ["table", "jsonl", "json", "csv"] {
            assert_eq!(run(&["--check", "--format", format], &with).code, 0, "{format}");
            assert_eq!(run(&["--check", "--format", format], &all).code, 1, "{format}");
            assert_eq!(run(&["--format", format], &all).code, 0, "{format}");
        }
    }
}

/// Of the golden authors: an ordinary one, one whose name is an attack, one without a profile.
fn three_authors() -> [String; 3] {
    let profiles = exported_profiles("strfry-1.1.1");
    let named = |part: &str| {
        let mut authors = authors().into_iter();
        let is_it = |author: &String| {
            profiles
                .get(author)
                .is_some_and(|event| event["content"].as_str().unwrap().contains(part))
        };
        authors.find(is_it).unwrap()
    };
    let missing = authors().into_iter().find(|author| !profiles.contains_key(author)).unwrap();
    [named("alice0"), named("forged line"), missing]
}

#[test]
fn the_table_cleans_hostile_text_and_json_keeps_it() {
    let database = golden_database("strfry-1.1.1");
    let [alice, hostile, missing] = three_authors();
    let asked = [alice.as_str(), &hostile, &missing];
    let run =
        |format: &str| profiles(database.path(), &[&["--format", format], &asked[..]].concat());
    let [alice_row, hostile_row, _] =
        <[Value; 3]>::try_from(expected_rows("strfry-1.1.1", &three_authors())).unwrap();
    assert_eq!(
        profiles(database.path(), &asked),
        success(format!(
            "PUBKEY    FOUND  NAME                  DISPLAY NAME         NIP-05\n\
             {}  yes    alice0                Alice in Wonderland  alice0@example.com\n\
             {}  yes    evil\\u{{1b}}[31m\\u{{7}}…\n\
             {}  no\n",
            &alice[..8],
            &hostile[..8],
            &missing[..8]
        ))
    );
    assert_eq!(run("table"), profiles(database.path(), &asked));
    let name = "evil\u{1b}[31m\u{7}\u{202e}txt\r\n[INFO] forged line";
    assert_eq!(hostile_row["name"], json!(name));
    assert_eq!(json_lines(&run("jsonl").out)[1], hostile_row);
    let array: Vec<Value> = serde_json::from_str(&run("json").out).unwrap();
    assert_eq!(array, json_lines(&run("jsonl").out));
    let id = |row: &Value| row["id"].as_str().unwrap().to_owned();
    assert_eq!(
        run("csv"),
        success(format!(
            "pubkey,found,id,created_at,name,display_name,nip05,about,picture,website\n\
             {alice},true,{},{},alice0,Alice in Wonderland,alice0@example.com,bio,\
             https://example.com/a.png,https://example.com\n\
             {hostile},true,{},{},\"{name}\",,,<script>alert(1)</script>,,\n\
             {missing},false,,,,,,,,\n",
            id(&alice_row),
            alice_row["created_at"],
            id(&hostile_row),
            hostile_row["created_at"],
        ))
    );
}
