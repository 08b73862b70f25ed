//! What can be said of a message that is too large for us, from its two ends.

use std::fmt;

use crate::nostr::EventId;

/// A message that was too large for us and was read past. All but its size is the relay's claim.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct TooLarge {
    /// What it is: `EVENT`, `NEG-MSG`, …
    pub(super) name: Option<String>,
    /// The request that it answers.
    pub(super) subscription: Option<String>,
    /// Of an event, its id.
    pub(super) id: Option<EventId>,
    /// All of it.
    pub(super) bytes: u64,
}

impl TooLarge {
    /// Reads what the first and the last bytes of a message say.
    pub(super) fn of(beginning: &[u8], end: &[u8], bytes: u64) -> Self {
        let text = String::from_utf8_lossy(beginning);
        let text = text.trim_start_matches('\u{feff}').trim_start();
        let mut rest = text.strip_prefix('[').unwrap_or_default();
        let mut next = || {
            let (word, after) = rest.trim_start().strip_prefix('"')?.split_once('"')?;
            rest = after.trim_start().strip_prefix(',').unwrap_or_default();
            // No name of ours has an escape in it.
            (!word.contains('\\')).then(|| word.to_owned())
        };
        let name = next();
        let subscription = name.as_ref().and_then(|_| next());
        let id = name.as_deref().filter(|name| *name == "EVENT");
        let id = id.and_then(|_| id_in(text).or_else(|| id_in(&String::from_utf8_lossy(end))));
        Self { name, subscription, id, bytes }
    }
}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.id {
            Some(id) => write!(f, "event {id} of {} bytes", self.bytes),
            None => write!(f, "a message of {} bytes", self.bytes),
        }
    }
}

/// The first field `id` in a piece of JSON: within a string both its quotes would be escaped.
fn id_in(json: &str) -> Option<EventId> {
    json.match_indices(r#""id""#).find_map(|(at, field)| {
        let value = json.get(at + field.len()..)?.trim_start().strip_prefix(':')?;
        let (id, _) = value.trim_start().strip_prefix('"')?.split_once('"')?;
        id.to_ascii_lowercase().parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(id: &str) -> TooLarge {
        TooLarge {
            name: Some("EVENT".into()),
            subscription: Some("s-1".into()),
            id: id.parse().ok(),
            bytes: 9,
        }
    }

    #[test]
    fn an_event_is_named_wherever_its_id_stands() {
        let id = "ab".repeat(32);
        let beginning = format!(r#" [ "EVENT" , "s-1", {{"kind":1, "id" : "{id}","content":"xx"#);
        assert_eq!(TooLarge::of(beginning.as_bytes(), b"xx\"}]", 9), event(&id));
        let end =
            format!("\u{e9}x\",\"created_at\":5,\"id\":\"{}\",\"kind\":1}}]", id.to_uppercase());
        let beginning = br#"["EVENT","s-1",{"content":"xx"#;
        // It may have been cut between two bytes of a character.
        assert_eq!(TooLarge::of(beginning, &end.as_bytes()[1..], 9), event(&id));
    }

    #[test]
    fn an_id_that_is_quoted_in_a_content_is_not_that_of_the_event() {
        let quoted = format!(r#"["EVENT","s-1",{{"content":"{{\"id\":\"{}\""#, "ab".repeat(32));
        assert_eq!(TooLarge::of(quoted.as_bytes(), quoted.as_bytes(), 9), event(""));
        let tag = format!(r#"["EVENT","s-1",{{"tags":[["id","{}"],"#, "ab".repeat(32));
        assert_eq!(TooLarge::of(tag.as_bytes(), b"", 9), event(""));
    }

    #[test]
    fn of_anything_else_nothing_is_claimed() {
        let id = format!(r#"["NOTICE",{{"id":"{}"}}"#, "ab".repeat(32));
        let notice = TooLarge { name: Some("NOTICE".into()), bytes: 9, ..TooLarge::default() };
        assert_eq!(TooLarge::of(id.as_bytes(), b"", 9), notice);
        let nothing = TooLarge { bytes: 9, ..TooLarge::default() };
        for text in ["", "[", "[[[[", "<html>", "\"EVENT\",\"s\"", "[7,\"s\"", "[\"EV"] {
            assert_eq!(TooLarge::of(text.as_bytes(), text.as_bytes(), 9), nothing, "{text}");
        }
        assert_eq!(nothing.to_string(), "a message of 9 bytes");
        let named = event(&"ab".repeat(32)).to_string();
        assert_eq!(named, format!("event {} of 9 bytes", "ab".repeat(32)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(beginning: Vec<u8>, text in "[\\[\",:id\\\\ é]{0,40}") {
            let _ = TooLarge::of(&beginning, &beginning, 1);
            let _ = TooLarge::of(text.as_bytes(), &beginning, 1);
            let event = format!("[\"EVENT\",\"s\",{text}");
            let _ = TooLarge::of(event.as_bytes(), text.as_bytes(), 1);
        }
    }
}
