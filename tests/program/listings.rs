//! `peers` and `pubkeys`: what they print of a small node.

use std::path::Path;

use serde_json::{Value, json};
use strfry_companion::nostr::Pubkey;
use tempfile::TempDir;

use crate::said::{Said, companion};

fn pubkey(byte: u8) -> String {
    Pubkey::from_bytes([byte; 32]).to_string()
}

fn write(home: &Path, path: &str, text: &str) {
    let path = home.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn station(home: &Path, directory: &str, station: &Value) {
    write(home, &format!("tmp/swarm/{directory}/12345.json"), &station.to_string());
}

/// A home with every kind of station and every source of pubkeys.
fn home() -> TempDir {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    let relay = "wss://relay.example/";
    station(
        at,
        "a",
        &json!({"ipfsnodeid": "12D3KooWa", "myRELAY": relay, "captainHEX": pubkey(1),
                "NODEHEX": pubkey(2).to_uppercase(), "version": 1}),
    );
    station(at, "b/deep", &json!({"ipfsnodeid": "12D3KooWb", "myRELAY": "ws://8.8.8.8:7777/x"}));
    station(at, "c", &json!({"ipfsnodeid": "12D3KooWc", "myRELAY": "wss://relay.example"}));
    station(at, "d", &json!({"ipfsnodeid": "12D3KooWd", "myRELAY": "http://relay.example"}));
    station(at, "e", &json!({"ipfsnodeid": "12D3KooWe", "captainHEX": "nobody"}));
    station(at, "f", &json!({"ipfsnodeid": "../../etc", "myRELAY": "wss://f.example"}));
    station(at, "g", &json!({"ipfsnodeid": "12D3KooWg", "myRELAY": "ws://127.0.0.1:7777"}));
    station(at, "h", &json!({"ipfsnodeid": "12D3KooWh", "myRELAY": "wss://192.168.1.1"}));
    station(at, "own", &json!({"ipfsnodeid": "12D3KooWown", "myRELAY": "wss://own.example"}));
    write(at, "tmp/swarm/z/12345.json", "{\u{1b}[2J");
    write(at, "game/nostr/alice@example.com/HEX", &format!("{}\n", pubkey(3)));
    write(at, "strfry/amisOfAmis.txt", &format!("{}\r\njunk\r\n{}\r\n", pubkey(4), pubkey(3)));
    write(at, "flashmem/x/y/HEX", &pubkey(1));
    home
}

fn run(home: &Path, arguments: &[&str]) -> Said {
    let mut command = companion(arguments);
    command.arg("--home").arg(home).env("IPFSNODEID", "12D3KooWown");
    Said::by(&mut command, home)
}

fn success(out: impl Into<String>) -> Said {
    Said { code: 0, out: out.into(), err: String::new() }
}

#[test]
fn peers_are_those_that_would_be_asked_and_the_others_with_their_reasons() {
    let home = home();
    assert_eq!(
        run(home.path(), &["peers"]),
        success(
            "9 stations in HOME/tmp/swarm: 2 peers, 8 skipped\n  \
             wss://relay.example  12D3KooWa\n  \
             ws://8.8.8.8:7777/x  12D3KooWb\n\
             Skipped:\n  \
             HOME/tmp/swarm/c/12345.json: wss://relay.example is already among the peers\n  \
             HOME/tmp/swarm/d/12345.json: myRELAY \"http://relay.example\" is not a relay's \
             address: it must start with wss:// or ws://\n  \
             HOME/tmp/swarm/e/12345.json: no myRELAY\n  \
             HOME/tmp/swarm/f/12345.json: ipfsnodeid is not an IPFS peer id (letters and digits \
             only)\n  \
             HOME/tmp/swarm/g/12345.json: ws://127.0.0.1:7777 is reachable only through a tunnel: \
             not dialled directly; --allow-local-peers dials it\n  \
             HOME/tmp/swarm/h/12345.json: wss://192.168.1.1 is a private address: not dialled; \
             --allow-local-peers dials it\n  \
             HOME/tmp/swarm/own/12345.json: this node itself\n  \
             HOME/tmp/swarm/z/12345.json: not a JSON object\n"
        )
    );
}

#[test]
fn peers_as_json_hold_the_same() {
    let home = home();
    let said = run(home.path(), &["peers", "--json", "--allow-local-peers"]);
    let file = |directory: &str| format!("HOME/tmp/swarm/{directory}/12345.json");
    let peer = |name: &str, url: &str, directory: &str| json!({"name": name, "url": url, "file": file(directory)});
    let skipped = |directory: &str, station: Option<&str>, reason: &str| json!({"subject": file(directory), "station": station, "reason": reason});
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    assert_eq!(
        serde_json::from_str::<Value>(&said.out).unwrap(),
        json!({
            "version": 1,
            "swarm": "HOME/tmp/swarm",
            "stations": 9,
            "peers": [
                peer("12D3KooWa", "wss://relay.example", "a"),
                peer("12D3KooWg", "ws://127.0.0.1:7777", "g"),
                peer("12D3KooWh", "wss://192.168.1.1", "h"),
                peer("12D3KooWb", "ws://8.8.8.8:7777/x", "b/deep"),
            ],
            "skipped": [
                skipped("c", Some("12D3KooWc"), "wss://relay.example is already among the peers"),
                skipped(
                    "d",
                    Some("12D3KooWd"),
                    "myRELAY \"http://relay.example\" is not a relay's address: it must start \
                     with wss:// or ws://"
                ),
                skipped("e", Some("12D3KooWe"), "no myRELAY"),
                skipped("f", None, "ipfsnodeid is not an IPFS peer id (letters and digits only)"),
                skipped("own", Some("12D3KooWown"), "this node itself"),
                skipped("z", None, "not a JSON object"),
            ],
        })
    );
}

#[test]
fn pubkeys_are_told_by_source_and_listed_once() {
    let home = home();
    assert_eq!(
        run(home.path(), &["pubkeys"]),
        success(
            "4 pubkeys\n  \
             game/nostr: 1 found in 1 file, 0 of them repeated; 0 lines skipped without a pubkey\n  \
             amisOfAmis.txt: 2 found in 1 file, 1 of them repeated; 1 line skipped without a pubkey\n  \
             12345.json: 2 found in 9 files, 0 of them repeated; 1 line skipped without a pubkey\n  \
             flashmem: 1 found in 1 file, 1 of them repeated; 0 lines skipped without a pubkey\n"
        )
    );
    let all = [1, 2, 3, 4].map(pubkey);
    assert_eq!(run(home.path(), &["pubkeys", "--list"]), success(all.join("\n") + "\n"));
    let said = run(home.path(), &["pubkeys", "--json"]);
    let source = |name: &str, path: &str, [files, found, duplicates, skipped]: [u8; 4]| {
        json!({"name": name, "path": path, "files": files, "found": found,
               "duplicates": duplicates, "skipped": skipped, "errors": []})
    };
    assert_eq!(
        serde_json::from_str::<Value>(&said.out).unwrap(),
        json!({
            "version": 1,
            "pubkeys": all,
            "sources": [
                source("game/nostr", "HOME/game/nostr", [1, 1, 0, 0]),
                source("amisOfAmis.txt", "HOME/strfry/amisOfAmis.txt", [1, 2, 1, 1]),
                source("12345.json", "HOME/tmp/swarm", [9, 2, 0, 1]),
                source("flashmem", "HOME/flashmem", [1, 1, 1, 0]),
            ],
        })
    );
}

#[test]
fn an_empty_home_has_no_peers_and_no_pubkeys_which_is_no_error() {
    let home = tempfile::tempdir().unwrap();
    assert_eq!(
        run(home.path(), &["peers"]),
        success("0 stations in HOME/tmp/swarm: 0 peers, 0 skipped\n")
    );
    assert_eq!(run(home.path(), &["pubkeys", "--list"]), success(""));
}
