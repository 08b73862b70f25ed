//! What an author says about themself: the profile (kind 0) and the relay list (kind 10002).
//!
//! Takes events as they are and keeps their text unchanged, except in the table for a terminal.
//! Never checks whether an event is genuine.

mod file;
mod rows;

use std::collections::HashMap;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

pub use file::{ProfileRecord, WriteError, fetched_at, write_csv, write_json};
pub use rows::{Format, ProfileRow, render};

use crate::nostr::{Event, TagField};

/// Why a content is no profile. Quotes nothing of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// Not JSON, or nested deeper than 127 levels, or with a number out of range.
    #[error(
        "cannot read a profile: its content is not JSON ({0}); its author has to publish it anew"
    )]
    NotJson(String),
    /// JSON, but not an object.
    #[error(
        "cannot read a profile: its content is JSON but not an object; its author has to publish \
         it anew"
    )]
    NotAnObject,
}

/// The content of a kind 0 event. A field that is absent or not a string is `None`.
///
/// Serialised as the content that it was read from, all fields included.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Profile {
    /// Short name.
    pub name: Option<String>,
    /// Full name; from `displayName`, which old clients wrote, if there is no `display_name`.
    pub display_name: Option<String>,
    /// Internet identifier such as `alice@example.com` (NIP-05). Not checked.
    pub nip05: Option<String>,
    /// A few words about the author.
    pub about: Option<String>,
    /// URL of a picture. Not checked.
    pub picture: Option<String>,
    /// URL of a website. Not checked.
    pub website: Option<String>,
    /// Everything that was in the content. Of a repeated key the last counts.
    pub content: Map<String, Value>,
}

impl Profile {
    /// Reads the content of a kind 0 event.
    ///
    /// # Errors
    /// If it is not a JSON object.
    pub fn parse(content: &str) -> Result<Self, ProfileError> {
        let content = match serde_json::from_str(content) {
            Ok(Value::Object(content)) => content,
            Ok(_) => return Err(ProfileError::NotAnObject),
            Err(error) => return Err(ProfileError::NotJson(error.to_string())),
        };
        let field = |key: &str| Some(content.get(key)?.as_str()?.to_owned());
        Ok(Self {
            name: field("name"),
            display_name: field("display_name").or_else(|| field("displayName")),
            nip05: field("nip05"),
            about: field("about"),
            picture: field("picture"),
            website: field("website"),
            content,
        })
    }
}

impl Serialize for Profile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.content.serialize(serializer)
    }
}

/// One relay of an author's list (NIP-65).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RelayUse {
    /// As the author wrote it: hostile, perhaps no URL at all.
    pub url: String,
    /// The author reads there.
    pub read: bool,
    /// The author writes there.
    pub write: bool,
}

/// The relays in the `r` tags of a kind 10002 event, in their order, each once: what two tags say
/// about one URL is joined. Both read and write unless the tag's marker is `read` or `write`.
/// A tag without a URL is left out.
pub fn relay_list(event: &Event<'_>) -> Vec<RelayUse> {
    let mut relays: Vec<RelayUse> = Vec::new();
    let mut positions: HashMap<&str, usize> = HashMap::new();
    for tag in &event.tags {
        let [TagField::Text(name), TagField::Text(url), rest @ ..] = tag.as_slice() else {
            continue;
        };
        if name != "r" || url.is_empty() {
            continue;
        }
        let (read, write) = match rest.first() {
            Some(TagField::Text(marker)) if marker == "read" => (true, false),
            Some(TagField::Text(marker)) if marker == "write" => (false, true),
            _ => (true, true),
        };
        let position = *positions.entry(url).or_insert(relays.len());
        match relays.get_mut(position) {
            Some(relay) => {
                relay.read |= read;
                relay.write |= write;
            }
            None => relays.push(RelayUse { url: url.clone().into_owned(), read, write }),
        }
    }
    relays
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn a_profile_keeps_its_content_and_shows_the_known_fields() {
        let content = json!({
            "name": "alice", "display_name": "Alice", "displayName": "Old Alice",
            "nip05": "alice@example.com", "about": "line\nbreak", "picture": "https://a.example/p",
            "website": "https://a.example", "lud16": "a@b", "bot": false, "custom": [1, {"a": null}],
        });
        assert_eq!(
            Profile::parse(&content.to_string()),
            Ok(Profile {
                name: text("alice"),
                display_name: text("Alice"),
                nip05: text("alice@example.com"),
                about: text("line\nbreak"),
                picture: text("https://a.example/p"),
                website: text("https://a.example"),
                content: content.as_object().unwrap().clone(),
            })
        );
    }

    #[test]
    fn a_field_that_is_not_a_string_is_absent_but_stays_in_the_content() {
        let content = json!({"name": 7, "about": null, "display_name": [], "displayName": "Alice"});
        let profile = Profile::parse(&content.to_string()).unwrap();
        assert_eq!(
            profile,
            Profile {
                display_name: text("Alice"),
                content: content.as_object().unwrap().clone(),
                ..Profile::default()
            }
        );
        assert_eq!(serde_json::to_value(&profile).unwrap(), content);
    }

    #[test]
    fn content_that_is_no_object_is_refused_without_quoting_it() {
        for content in ["[]", "\"secret\"", "7", "null", "true"] {
            assert_eq!(Profile::parse(content), Err(ProfileError::NotAnObject), "{content}");
        }
        for content in ["", "hello failed", "{\"name\":", "{} {}", &"[".repeat(100_000)] {
            let error = Profile::parse(content).unwrap_err();
            assert!(matches!(error, ProfileError::NotJson(_)), "{content}");
            assert!(!error.to_string().contains("hello"), "{error}");
        }
    }

    fn relays_of(tags: Value) -> Vec<RelayUse> {
        let event = json!({
            "id": "00".repeat(32), "pubkey": "11".repeat(32), "created_at": 5, "kind": 10_002,
            "tags": tags, "content": "", "sig": "22".repeat(64),
        });
        relay_list(&Event::parse(&event.to_string()).unwrap())
    }

    fn relay(url: &str, read: bool, write: bool) -> RelayUse {
        RelayUse { url: url.to_owned(), read, write }
    }

    #[test]
    fn a_relay_without_marker_is_for_reading_and_writing() {
        assert_eq!(
            relays_of(json!([
                ["r", "wss://both.example"],
                ["r", "wss://read.example", "read"],
                ["e", "wss://not-a-relay.example"],
                ["r", "wss://write.example", "write", "more"],
                ["r", "wss://odd.example", "", "read"],
                ["r", "wss://odder.example", 7],
            ])),
            [
                relay("wss://both.example", true, true),
                relay("wss://read.example", true, false),
                relay("wss://write.example", false, true),
                relay("wss://odd.example", true, true),
                relay("wss://odder.example", true, true),
            ]
        );
    }

    #[test]
    fn a_relay_listed_twice_appears_once_with_both_uses() {
        assert_eq!(
            relays_of(json!([
                ["r", "wss://a", "write"],
                ["r", "wss://b"],
                ["r", "wss://a", "read"]
            ])),
            [relay("wss://a", true, true), relay("wss://b", true, true)]
        );
    }

    #[test]
    fn an_r_tag_without_url_is_no_relay() {
        assert_eq!(relays_of(json!([["r"], ["r", ""], ["r", "", "read"]])), []);
    }

    proptest! {
        #[test]
        fn no_content_makes_the_parser_panic(content: String) {
            let _ = Profile::parse(&content);
        }

        #[test]
        fn any_text_survives_parsing_unchanged(name: String, about: String) {
            let content = json!({"name": name, "about": about});
            let profile = Profile::parse(&content.to_string()).unwrap();
            prop_assert_eq!(profile.name, Some(name));
            prop_assert_eq!(profile.about, Some(about));
        }
    }
}
