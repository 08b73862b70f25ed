//! The summary that `backfill --json` prints is what its schema says: no field more, none less.

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use strfry_companion::backfill::Class;
use strfry_companion::doctor::Check;
use support::events::{Author, forged};
use support::no_relays::ClosedPort;
use support::node::Node;
use support::relays::Relay;
use support::scripted::{Act, Arrival, ScriptedRelay, answer};
use support::strfry_bin;

fn schema() -> Value {
    schema_of("backfill")
}

fn schema_of(command: &str) -> Value {
    let name = format!("schema/{command}-summary.schema.json");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Checks a value against the keywords that the schema uses; another keyword is an error, so that
/// the schema cannot say anything that is not checked.
fn validate(root: &Value, schema: &Value, value: &Value, at: &str) {
    for (keyword, wanted) in schema.as_object().unwrap() {
        match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" => {}
            "$ref" => {
                let name = wanted.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
                validate(root, &root["$defs"][name], value, at);
            }
            "const" => assert_eq!(value, wanted, "{at}"),
            "enum" => assert!(wanted.as_array().unwrap().contains(value), "{at}: {value}"),
            "type" => {
                let is = |name: &Value| is_of_type(value, name.as_str().unwrap());
                let types = wanted.as_array().cloned().unwrap_or_else(|| vec![wanted.clone()]);
                assert!(types.iter().any(is), "{at}: {value} is not {wanted}");
            }
            "minimum" => {
                let number = value.as_f64().unwrap_or(f64::MAX);
                assert!(number >= wanted.as_f64().unwrap(), "{at}: {value} < {wanted}");
            }
            "maxItems" => {
                assert!(value.as_array().unwrap().len() as u64 <= wanted.as_u64().unwrap(), "{at}");
            }
            "pattern" => {
                assert_eq!(wanted, "^[0-9a-f]{64}$", "the one pattern that is checked here");
                let text = value.as_str().unwrap();
                let is_hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
                assert!(is_hex && text.len() == 64, "{at}: {text}");
            }
            "format" => {
                assert_eq!(wanted, "date-time", "the one format that is checked here");
                value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
            }
            "items" => {
                // Of null nothing is left to say but its type.
                for (position, item) in value.as_array().into_iter().flatten().enumerate() {
                    validate(root, wanted, item, &format!("{at}[{position}]"));
                }
            }
            "required" => {
                for name in wanted.as_array().unwrap() {
                    assert!(value.get(name.as_str().unwrap()).is_some(), "{at} has no {name}");
                }
            }
            "properties" => {
                for (name, schema) in wanted.as_object().unwrap() {
                    if let Some(field) = value.get(name) {
                        validate(root, schema, field, &format!("{at}.{name}"));
                    }
                }
            }
            "additionalProperties" => {
                // Of null nothing is left to say but its type.
                for (name, field) in value.as_object().into_iter().flatten() {
                    if schema["properties"].get(name).is_none() {
                        assert!(wanted.is_object(), "the schema does not know {at}.{name}");
                        validate(root, wanted, field, &format!("{at}.{name}"));
                    }
                }
            }
            keyword => panic!("{at}: this test does not check {keyword}"),
        }
    }
}

fn is_of_type(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "integer" => value.is_u64(),
        "number" => value.is_number(),
        name => panic!("no type: {name}"),
    }
}

fn assert_valid(summary: &Value) {
    let schema = schema();
    validate(&schema, &schema, summary, "summary");
    for part in summary["peers"].as_array().unwrap().iter().chain([summary]) {
        let classes = part["events"].as_object().unwrap().values();
        let sum: u64 = classes.map(|count| count.as_u64().unwrap()).sum();
        assert_eq!(part["received"], json!(sum));
    }
}

fn node(author: &Author, relays: &[String]) -> Node {
    let node = Node::new(&strfry_bin());
    for (number, relay) in relays.iter().enumerate() {
        node.add_station(&format!("station{number}"), relay);
    }
    node.add_pubkeys([&author.pubkey()]);
    node
}

#[test]
fn a_complete_run_of_all_time_and_a_dry_run_are_as_the_schema_says() {
    let author = Author::new(1);
    let events = [author.profile(1_700_000_000, "Alice"), author.note(1_700_000_001, "hello")];
    let relay = Relay::start(&events, 500);
    let node = node(&author, &[relay.url()]);
    for (flags, class) in [(["--dry-run"], "would_import"), (["--verify"], "imported")] {
        let arguments = [&["--days", "0", "--allow-local-peers"], &flags[..]].concat();
        let (code, summary) = node.backfill(&arguments);
        assert_eq!((code, &summary["events"][class]), (0, &json!(2)));
        assert_eq!(summary["since"], json!(null));
        assert_valid(&summary);
    }
}

#[test]
fn a_run_with_gaps_refusals_errors_and_missing_profiles_is_as_the_schema_says() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let author = Author::new(1);
    let hostile = ScriptedRelay::start({
        let events = [
            forged(&author.profile(now - 9, "Mallory")),
            author.note(now - 8, &"x".repeat(70_000)),
            Author::new(2).note(now - 7, "unasked"),
            "{}".to_owned(),
        ];
        move |request| {
            let events = events.clone().map(Act::Event);
            let refused = request.filter["kinds"] == json!([4]);
            let end = if refused { Act::Closed("restricted: no".into()) } else { Act::Eose };
            answer(events.into_iter().chain([end]))
        }
    });
    let dead = ClosedPort::reserve();
    let node = node(&author, &[hostile.url(), dead.url()]);
    // A file in the place of the directory for the profiles.
    node.write("tmp/coucou", "");
    let fallback = ["--allow-local-peers", "--fallback-relay", &dead.url()];
    let output =
        node.companion(&[&["backfill", "--json"], &fallback[..]].concat()).output().unwrap();
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    for list in ["peers", "fallback", "errors"] {
        assert!(!summary[list].as_array().unwrap().is_empty(), "{list}: {summary:#}");
    }
    assert_eq!(summary["peers"][0]["status"], "incomplete");
    assert_eq!(summary["peers"][1]["status"], "failed");
    assert_eq!(summary["profiles"]["missing_pubkeys"], json!([author.pubkey()]));
    assert!(!summary["reasons"].as_object().unwrap().is_empty());
    assert_valid(&summary);
}

#[test]
fn an_import_of_every_sort_of_event_is_as_the_schema_says() {
    let author = Author::new(1);
    let node = Node::new(&strfry_bin());
    let regretted = author.note(5, "regretted");
    let deletion = author.event(5, 6, json!([["e", support::events::id_of(&regretted)]]), "");
    node.import(&[author.profile(9, "newer"), deletion]);
    let events = [
        author.profile(1, "older"),
        regretted,
        author.note(7, "hello"),
        forged(&author.note(8, "true")),
        "{}".to_owned(),
    ];
    let schema = schema_of("import");
    for flags in [&["--dry-run"][..], &["--plain"], &[]] {
        let mut command = node.companion(&[&["import", "--json"], flags].concat());
        let output = support::feed(&mut command, events.join("\n").as_bytes());
        let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
        validate(&schema, &schema, &summary, "summary");
        assert_eq!(summary["received"], json!(5));
    }
}

#[test]
fn a_difference_with_a_peer_and_one_that_is_not_known_are_as_the_schema_says() {
    let author = Author::new(1);
    let relay = Relay::start(&[author.note(1_700_000_000, "there")], 500);
    let dead = ClosedPort::reserve();
    let node = node(&author, &[relay.url(), dead.url()]);
    node.import(&[author.note(1_700_000_000, "here")]);
    let arguments = ["diff", "--json", "--days", "0", "--allow-local-peers"];
    let output = node.companion(&arguments).output().unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let schema = schema_of("diff");
    validate(&schema, &schema, &found, "difference");
    let status = |position: usize| found["peers"][position]["status"].as_str();
    assert_eq!(
        BTreeSet::from([status(0), status(1)]),
        BTreeSet::from([Some("complete"), Some("failed")])
    );
}

#[test]
fn peers_of_every_sort_are_as_the_schema_says() {
    let author = Author::new(1);
    let relay = Relay::start(&[], 500);
    let info = json!({"name": "x", "supported_nips": [1, 11], "limitation": {"max_limit": 7}});
    let informing = ScriptedRelay::start_dating(
        Some(-60),
        Some(info),
        |_| Arrival::Welcome,
        |_| answer([Act::Closed("auth-required: who are you?".into())]),
        |_| answer([Act::Notice("what?".into())]),
    );
    let node = node(&author, &[relay.url(), informing.url(), ClosedPort::reserve().url()]);
    node.add_station("broken", "http://relay.example");
    let schema = schema_of("peers");
    for flags in [&[][..], &["--probe"]] {
        let arguments = [&["peers", "--json", "--allow-local-peers"], flags].concat();
        let output = node.companion(&arguments).output().unwrap();
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        validate(&schema, &schema, &found, "peers");
        let counts = ["peers", "skipped"].map(|list| found[list].as_array().unwrap().len());
        assert_eq!(counts, [3, 1]);
    }
}

#[test]
fn figures_pubkeys_a_bench_and_options_are_as_their_schemas_say() {
    let author = Author::new(1);
    let node = node(&author, &[]);
    node.import(&[author.profile(1_700_000_000, "x"), author.note(1_700_000_001, "y")]);
    for (schema, arguments) in [
        ("stats", &["stats", "--payloads"][..]),
        ("stats", &["stats", "--lock", "none"]),
        ("pubkeys", &["pubkeys"]),
        ("bench", &["bench", "verify", "--runs", "1"]),
        ("bench", &["bench", "scan", "{}", "--runs", "1"]),
    ] {
        let output = node.companion(&[arguments, &["--json"]].concat()).output().unwrap();
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        let wanted = schema_of(schema);
        validate(&wanted, &wanted, &found, schema);
    }
    let output = node.companion(&["config", "show", "--json", "backfill"]).output().unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/config-show.schema.json");
    let wanted: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    validate(&wanted, &wanted, &found, "config");
}

#[test]
fn what_a_doctor_finds_on_a_node_and_without_one_is_as_the_schema_says() {
    let relay = Relay::start(&[], 500);
    let node = node(&Author::new(1), &[relay.url(), ClosedPort::reserve().url()]);
    let schema = schema_of("doctor");
    let metrics = node.home().join("strfry.prom");
    for lock in ["auto", "shared", "none"] {
        let arguments = ["doctor", "--json", "--allow-local-peers", "--lock", lock];
        let output = node.companion(&arguments).arg("--metrics").arg(&metrics).output().unwrap();
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        validate(&schema, &schema, &found, "doctor");
        assert_eq!((&found["level"], output.status.code()), (&json!("warning"), Some(0)));
    }
    std::fs::remove_dir_all(node.home()).unwrap();
    let output = node.companion(&["doctor", "--json"]).output().unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    validate(&schema, &schema, &found, "doctor");
    assert_eq!((&found["level"], output.status.code()), (&json!("error"), Some(1)));

    let known = schema["$defs"]["finding"]["properties"]["id"]["enum"].as_array().unwrap();
    let known: BTreeSet<&str> = known.iter().map(|id| id.as_str().unwrap()).collect();
    assert_eq!(known, Check::ALL.iter().map(|check| check.id()).collect());
}

#[test]
fn the_schema_knows_every_class() {
    let known: BTreeSet<String> =
        schema()["$defs"]["classes"]["properties"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(known, Class::ALL.iter().map(|class| class.name().to_owned()).collect());
}
