//! The id that an event must have: the SHA-256 of its text `[0,pubkey,created_at,kind,tags,content]`.

use sha2::{Digest, Sha256};

use super::{Event, EventId, json};

/// strfry and NIP-01 write one character differently in that text, so an event that holds it has
/// two ids, and each of them thinks that the other's is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpectedId {
    /// By NIP-01: DEL (0x7f) stands in the text as it is.
    pub nip01: EventId,
    /// By strfry 1.1.1: DEL is written as `\u007f`.
    pub strfry: EventId,
}

impl ExpectedId {
    /// Hashes the event's text.
    #[doc(hidden)]
    pub fn of(event: &Event<'_>) -> Self {
        let mut text = format!("[0,\"{}\",{},{},", event.pubkey, event.created_at, event.kind);
        json::push_tags(&mut text, &event.tags);
        text.push(',');
        json::push_string(&mut text, &event.content);
        text.push(']');
        let strfry = hash(&text);
        let nip01 = if text.contains(ESCAPED_DEL) { hash(&with_del(&text)) } else { strfry };
        Self { nip01, strfry }
    }
}

const ESCAPED_DEL: &str = r"\u007f";

fn hash(text: &str) -> EventId {
    EventId::from_bytes(Sha256::digest(text).into())
}

/// The text with every escaped DEL as the character itself. A backslash that is itself escaped
/// escapes nothing.
fn with_del(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (verbatim, escaped) = rest.split_at(at);
        out.push_str(verbatim);
        if let Some(behind) = escaped.strip_prefix(ESCAPED_DEL) {
            out.push('\u{7f}');
            rest = behind;
        } else {
            // The writer escapes with ASCII only.
            let (escape, behind) = escaped.split_at_checked(2).unwrap_or((escaped, ""));
            out.push_str(escape);
            rest = behind;
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_del_that_is_escaped_becomes_one() {
        assert_eq!(
            with_del(r#"["a\u007f\\u007f\\\u007f\n\u001f"]"#),
            "[\"a\u{7f}\\\\u007f\\\\\u{7f}\\n\\u001f\"]"
        );
        assert_eq!(with_del("plain é"), "plain é");
    }

    #[test]
    fn an_event_with_del_has_two_ids_and_any_other_has_one() {
        let ids = |content: &str| {
            let event = serde_json::json!({
                "id": "00".repeat(32), "pubkey": "11".repeat(32), "created_at": 5, "kind": 1,
                "tags": [["t", "x"]], "content": content, "sig": "22".repeat(64),
            });
            ExpectedId::of(&Event::parse(&event.to_string()).unwrap())
        };
        let text = |content: &str| {
            hash(&format!("[0,\"{}\",5,1,[[\"t\",\"x\"]],\"{content}\"]", "11".repeat(32)))
        };
        assert_eq!(ids("a"), ExpectedId { nip01: text("a"), strfry: text("a") });
        assert_eq!(ids("\u{7f}"), ExpectedId { nip01: text("\u{7f}"), strfry: text(r"\u007f") });
        assert_eq!(
            ids(r"\u007f"),
            ExpectedId { nip01: text(r"\\u007f"), strfry: text(r"\\u007f") }
        );
    }
}
