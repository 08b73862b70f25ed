//! What can be read of an event that is not well formed in another way.

use std::borrow::Cow;

use serde::Deserialize;

use super::{Event, EventId, Pubkey};

/// Which event it claims to be, and where it stands in the order of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outline {
    /// As claimed.
    pub id: EventId,
    /// The author, as claimed.
    pub pubkey: Pubkey,
    /// Seconds since 1970.
    pub created_at: u64,
    /// Any kind.
    pub kind: u64,
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    pubkey: Cow<'a, str>,
    created_at: u64,
    kind: u64,
}

impl Outline {
    /// Of a well-formed event.
    pub fn of(event: &Event<'_>) -> Self {
        let Event { id, pubkey, created_at, kind, .. } = *event;
        Self { id, pubkey, created_at, kind }
    }

    /// Reads these four fields, with hex in any case and whatever the others hold. `None`: one of
    /// them is missing or of another type, or the text is not JSON.
    pub fn parse(text: &str) -> Option<Self> {
        let fields: Fields<'_> = serde_json::from_str(text).ok()?;
        let lower = |text: &str| text.to_ascii_lowercase();
        Some(Self {
            id: lower(&fields.id).parse().ok()?,
            pubkey: Some(lower(&fields.pubkey)).filter(|it| it.len() == 64)?.parse().ok()?,
            created_at: fields.created_at,
            kind: fields.kind,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_outline_is_read_of_what_is_not_well_formed_otherwise() {
        let (id, pubkey) = ("ab".repeat(32), "cd".repeat(32));
        let outline = Outline {
            id: id.parse().unwrap(),
            pubkey: pubkey.parse().unwrap(),
            created_at: 5,
            kind: 1,
        };
        let event = |id: &str, pubkey: &str| {
            json!({"id": id, "pubkey": pubkey, "created_at": 5, "kind": 1, "tags": [[]], "sig": 7})
                .to_string()
        };
        assert_eq!(Outline::parse(&event(&id, &pubkey)), Some(outline));
        assert_eq!(Outline::parse(&event(&id.to_uppercase(), &pubkey)), Some(outline));
        assert_eq!(Outline::parse(&event(&id, &pubkey.to_uppercase())), Some(outline));
        let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
        let deep = event(&id, &pubkey).replace("[[]]", &deep);
        assert_eq!(Outline::parse(&deep), Some(outline));
        for (id, pubkey) in [("", &*pubkey), ("xy", &pubkey), (&id, "0x"), (&id, &id[1..])] {
            assert_eq!(Outline::parse(&event(id, pubkey)), None);
        }
        for text in ["", "{}", "[]", "null", r#"{"id":1}"#] {
            assert_eq!(Outline::parse(text), None, "{text}");
        }
    }
}
