//! Signed events by authors whose keys are the same in every run.

#![allow(dead_code, reason = "each program that includes this uses its own part")]

use rayon::prelude::*;
use secp256k1::{Keypair, schnorr};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use strfry_companion::nostr::Pubkey;

/// A second for events that need not be of today.
pub const START: u64 = 1_700_000_000;

/// Somebody who signs events.
#[derive(Debug, Clone)]
pub struct Author {
    keypair: Keypair,
}

impl Author {
    /// The author with this number.
    pub fn new(number: u64) -> Self {
        let secret = Sha256::digest(format!("author {number}"));
        Self { keypair: Keypair::from_secret_bytes(secret.into()).unwrap() }
    }

    /// The authors with these numbers, in their order.
    pub fn all(numbers: std::ops::Range<u64>) -> Vec<Self> {
        numbers.into_par_iter().map(Self::new).collect()
    }

    /// The first author whose pubkey, in hex, is of this kind.
    pub fn whose_pubkey(is_wanted: impl Fn(&str) -> bool) -> Self {
        let mut authors = (1_000_000..).map(Self::new);
        authors.find(|author| is_wanted(&author.pubkey().to_string())).unwrap()
    }

    /// An author whose pubkey begins with eight decimal digits, as a date does.
    pub fn like_a_date() -> Self {
        Self::whose_pubkey(|hex| hex.bytes().take(8).all(|digit| digit.is_ascii_digit()))
    }

    /// An author whose pubkey has a year in it.
    pub fn with_2024() -> Self {
        Self::whose_pubkey(|hex| hex.contains("2024"))
    }

    pub fn pubkey(&self) -> Pubkey {
        Pubkey::from_bytes(self.keypair.x_only_public_key().0.to_byte_array())
    }

    /// A signed event as one line of JSON.
    pub fn event(&self, kind: u64, created_at: u64, tags: Value, content: &str) -> String {
        self.event_of(kind, created_at, &tags.to_string(), &Value::from(content).to_string())
    }

    /// A signed event with these texts of JSON for its tags and content, whose id is the hash of
    /// the text as it stands.
    pub fn event_of(&self, kind: u64, created_at: u64, tags: &str, content: &str) -> String {
        let pubkey = self.pubkey().to_string();
        let (id, sig) =
            self.sign(&format!("[0,\"{pubkey}\",{created_at},{kind},{tags},{content}]"));
        format!(
            "{{\"id\":\"{id}\",\"pubkey\":\"{pubkey}\",\"created_at\":{created_at},\"kind\":{kind},\
             \"tags\":{tags},\"content\":{content},\"sig\":\"{sig}\"}}"
        )
    }

    /// The id of an event with this NIP-01 text, and the author's signature of it, in hex.
    pub fn sign(&self, text: &str) -> (String, String) {
        let id = Sha256::digest(text);
        let sig = schnorr::sign_no_aux_rand(&id, &self.keypair);
        (hex::encode(id), hex::encode(sig.to_byte_array()))
    }

    /// A text note.
    pub fn note(&self, created_at: u64, content: &str) -> String {
        self.event(1, created_at, json!([]), content)
    }

    /// A profile with this name.
    pub fn profile(&self, created_at: u64, name: &str) -> String {
        self.event(0, created_at, json!([]), &json!({ "name": name }).to_string())
    }
}

/// So many events, made on all cores; `make` is given the number of each.
pub fn events(count: usize, make: impl Fn(u64) -> String + Sync + Send) -> Vec<String> {
    (0..count as u64).into_par_iter().map(make).collect()
}

/// So many notes of an author, three in a second.
pub fn notes_of(author: &Author, count: usize) -> Vec<String> {
    events(count, |number| author.note(START + number / 3, &number.to_string()))
}

/// A text note with a number for its id and no signature: well formed, and quickly made.
pub fn unsigned(author: &Author, number: u64, created_at: u64) -> String {
    format!(
        "{{\"id\":\"{number:064x}\",\"pubkey\":\"{}\",\"created_at\":{created_at},\"kind\":1,\
         \"tags\":[],\"content\":\"\",\"sig\":\"{}\"}}",
        author.pubkey(),
        "00".repeat(64)
    )
}

/// The event with other content and its old id and signature.
pub fn forged(event: &str) -> String {
    let mut event: Value = serde_json::from_str(event).unwrap();
    event["content"] = "forged".into();
    event.to_string()
}

/// The id that an event claims.
pub fn id_of(event: &str) -> String {
    let event: Value = serde_json::from_str(event).unwrap();
    event["id"].as_str().unwrap().to_owned()
}

/// The ids of these events, sorted.
pub fn sorted_ids(events: &[String]) -> Vec<String> {
    let mut ids: Vec<String> = events.iter().map(|event| id_of(event)).collect();
    ids.sort();
    ids
}
