//! One parsed event, borrowing from the text it came in.
//!
//! The parser accepts what strfry's accepts and names its refusals in strfry's words; what strfry
//! configures (sizes, numbers of tags) is checked when the event is encoded, not here.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::{EventId, Pubkey, Signature};

/// Why a text is no event. The wording is that of strfry 1.1.1 where strfry has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The text is not JSON, or repeats one of an event's keys.
    #[error("unable to parse JSON")]
    NotJson,
    /// JSON, but not an object.
    #[error("event is not an object")]
    NotAnObject,
    /// One of the seven keys of an event is absent.
    #[error("JSON object key \"{0}\" not found")]
    MissingKey(&'static str),
    /// A key whose value must be a string has another type.
    #[error("event {0} field was not a string")]
    NotAString(&'static str),
    /// A key whose value must be an unsigned integer has another type or sign.
    #[error("event {0} field was not an integer")]
    NotAnInteger(&'static str),
    /// id, pubkey or sig is not lowercase hex of the right length.
    #[error("event {0} field is not lowercase hex of the right length")]
    BadHex(&'static str),
    /// `tags` is not an array.
    #[error("tags field not an array")]
    TagsNotAnArray,
    /// A tag is not an array.
    #[error("tag in tags field was not an array")]
    TagNotAnArray,
    /// A tag has no name.
    #[error("too few fields in tag")]
    EmptyTag,
    /// A tag's name is not a string.
    #[error("tag name was not a string")]
    TagNameNotAString,
    /// A tag's value is not a string.
    #[error("tag val was not a string")]
    TagValueNotAString,
}

/// One field of a tag. The first two are always [`TagField::Text`]; strfry lets later ones be any
/// JSON.
#[derive(Debug, Clone, PartialEq)]
pub enum TagField<'a> {
    /// A string, unescaped.
    Text(Cow<'a, str>),
    /// Anything else.
    Other(Value),
}

/// An event as a peer sent it: well formed, but neither its id nor its signature is checked yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Event<'a> {
    /// As claimed; the SHA-256 of the NIP-01 text if genuine.
    pub id: EventId,
    /// The author.
    pub pubkey: Pubkey,
    /// Seconds since 1970.
    pub created_at: u64,
    /// NIP-01 has 16 bits for it; strfry accepts 64.
    pub kind: u64,
    /// Each with at least one field, the first two of them text.
    pub tags: Vec<Vec<TagField<'a>>>,
    /// Unescaped.
    pub content: Cow<'a, str>,
    /// As claimed.
    pub sig: Signature,
}

impl<'a> Event<'a> {
    /// Parses one JSON object.
    ///
    /// # Errors
    /// [`Malformed`] says what is wrong first, in the order in which strfry looks.
    pub fn parse(text: &'a str) -> Result<Self, Malformed> {
        let fields = match serde_json::from_str::<TopLevel<'a>>(text) {
            Ok(TopLevel::Object(fields)) => fields,
            Ok(TopLevel::Other) => return Err(Malformed::NotAnObject),
            Err(_) => return Err(Malformed::NotJson),
        };
        let id = hex_field("id", fields.id)?;
        let pubkey = hex_field("pubkey", fields.pubkey)?;
        let created_at = integer("created_at", fields.created_at)?;
        let kind = integer("kind", fields.kind)?;
        let content = text_field("content", fields.content)?;
        let tags = tags(fields.tags.ok_or(Malformed::MissingKey("tags"))?)?;
        let sig = hex_field("sig", fields.sig)?;
        Ok(Event {
            id: EventId::from_bytes(id),
            pubkey: Pubkey::from_bytes(pubkey),
            created_at,
            kind,
            tags,
            content,
            sig: Signature::from_bytes(sig),
        })
    }

    /// Name and value of each tag; a tag without a value has `""`.
    pub fn tag_pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.tags.iter().filter_map(|tag| {
            let TagField::Text(name) = tag.first()? else { return None };
            let value = match tag.get(1) {
                Some(TagField::Text(value)) => value,
                _ => "",
            };
            Some((name.as_ref(), value))
        })
    }
}

fn text_field<'a>(key: &'static str, field: Option<Field<'a>>) -> Result<Cow<'a, str>, Malformed> {
    match field {
        Some(Field::Text(text)) => Ok(text),
        Some(_) => Err(Malformed::NotAString(key)),
        None => Err(Malformed::MissingKey(key)),
    }
}

fn integer(key: &'static str, field: Option<Field<'_>>) -> Result<u64, Malformed> {
    match field {
        Some(Field::Unsigned(number)) => Ok(number),
        Some(_) => Err(Malformed::NotAnInteger(key)),
        None => Err(Malformed::MissingKey(key)),
    }
}

fn hex_field<const N: usize>(
    key: &'static str,
    field: Option<Field<'_>>,
) -> Result<[u8; N], Malformed> {
    let text = text_field(key, field)?;
    super::hex::decode_lowercase(text.as_bytes()).ok_or(Malformed::BadHex(key))
}

fn tags(field: Field<'_>) -> Result<Vec<Vec<TagField<'_>>>, Malformed> {
    let Field::Array(raw_tags) = field else { return Err(Malformed::TagsNotAnArray) };
    raw_tags.into_iter().map(tag).collect()
}

fn tag(field: Field<'_>) -> Result<Vec<TagField<'_>>, Malformed> {
    let Field::Array(fields) = field else { return Err(Malformed::TagNotAnArray) };
    let fields: Vec<TagField<'_>> = fields.into_iter().map(Field::into_tag_field).collect();
    match fields.first() {
        None => return Err(Malformed::EmptyTag),
        Some(TagField::Other(_)) => return Err(Malformed::TagNameNotAString),
        Some(TagField::Text(_)) => {}
    }
    if matches!(fields.get(1), Some(TagField::Other(_))) {
        return Err(Malformed::TagValueNotAString);
    }
    Ok(fields)
}

enum TopLevel<'a> {
    Object(Box<Fields<'a>>),
    Other,
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<Field<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    pubkey: Option<Field<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    created_at: Option<Field<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    kind: Option<Field<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    tags: Option<Field<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    content: Option<Field<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    sig: Option<Field<'a>>,
}

/// Any JSON value; strings borrow from the text where they hold no escapes.
enum Field<'a> {
    Text(Cow<'a, str>),
    Unsigned(u64),
    Array(Vec<Field<'a>>),
    Other(Value),
}

impl<'a> Field<'a> {
    fn into_tag_field(self) -> TagField<'a> {
        match self {
            Field::Text(text) => TagField::Text(text),
            other => TagField::Other(other.into_value()),
        }
    }

    fn into_value(self) -> Value {
        match self {
            Field::Text(text) => Value::String(text.into_owned()),
            Field::Unsigned(number) => number.into(),
            Field::Array(items) => Value::Array(items.into_iter().map(Self::into_value).collect()),
            Field::Other(value) => value,
        }
    }
}

/// Keeps an explicit `null` apart from an absent key, which `Option` alone would not.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Field<'de>>, D::Error> {
    Field::deserialize(deserializer).map(Some)
}

impl<'de> Deserialize<'de> for TopLevel<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TopLevelVisitor)
    }
}

struct TopLevelVisitor;

impl<'de> Visitor<'de> for TopLevelVisitor {
    type Value = TopLevel<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        Fields::deserialize(MapAccessDeserializer::new(map))
            .map(|fields| TopLevel::Object(Box::new(fields)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(TopLevel::Other)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(TopLevel::Other)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(TopLevel::Other)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
        Ok(TopLevel::Other)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
        Ok(TopLevel::Other)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(TopLevel::Other)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Ok(TopLevel::Other)
    }
}

impl<'de> Deserialize<'de> for Field<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FieldVisitor)
    }
}

struct FieldVisitor;

impl<'de> Visitor<'de> for FieldVisitor {
    type Value = Field<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Field::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Field::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Field::Unsigned(number))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Field::Other(number.into()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Field::Other(number.into()))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Field::Other(value.into()))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Field::Other(Value::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(items)).map(Field::Array)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        Value::deserialize(MapAccessDeserializer::new(map)).map(Field::Other)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event_with(key: &str, value: Value) -> String {
        let mut event = serde_json::json!({
            "id": "00".repeat(32), "pubkey": "11".repeat(32), "created_at": 5, "kind": 1,
            "tags": [["t", "x"]], "content": "hello", "sig": "22".repeat(64), "extra": {"a": [null]},
        });
        match value {
            Value::Null if key == "absent" => {}
            value => event[key] = value,
        }
        event.to_string()
    }

    #[test]
    fn an_event_borrows_what_needs_no_unescaping() {
        let text = event_with("content", Value::String("line\nbreak".into()));
        let event = Event::parse(&text).unwrap();
        assert_eq!(
            event,
            Event {
                id: EventId::from_bytes([0; 32]),
                pubkey: Pubkey::from_bytes([0x11; 32]),
                created_at: 5,
                kind: 1,
                tags: vec![vec![TagField::Text("t".into()), TagField::Text("x".into())]],
                content: "line\nbreak".into(),
                sig: Signature::from_bytes([0x22; 64]),
            }
        );
        assert!(matches!(&event.tags[0][1], TagField::Text(Cow::Borrowed("x"))));
    }

    #[test]
    fn later_fields_of_a_tag_may_be_any_json() {
        let text = event_with("tags", serde_json::json!([["t", "x", 1, [-2, true]]]));
        let event = Event::parse(&text).unwrap();
        assert_eq!(
            event.tags[0][2..],
            [TagField::Other(1.into()), TagField::Other(serde_json::json!([-2, true]))]
        );
        assert_eq!(event.tag_pairs().collect::<Vec<_>>(), [("t", "x")]);
    }

    #[test]
    fn what_is_no_event_says_what_is_wrong() {
        let refused = |key, value| Event::parse(&event_with(key, value)).unwrap_err();
        assert_eq!(refused("created_at", (-5).into()), Malformed::NotAnInteger("created_at"));
        assert_eq!(refused("created_at", 1.5.into()), Malformed::NotAnInteger("created_at"));
        assert_eq!(refused("kind", "1".into()), Malformed::NotAnInteger("kind"));
        assert_eq!(refused("content", Value::Null), Malformed::NotAString("content"));
        assert_eq!(refused("id", "00".into()), Malformed::BadHex("id"));
        assert_eq!(refused("pubkey", "AA".repeat(32).into()), Malformed::BadHex("pubkey"));
        assert_eq!(refused("sig", "zz".repeat(64).into()), Malformed::BadHex("sig"));
        assert_eq!(refused("tags", "t".into()), Malformed::TagsNotAnArray);
        assert_eq!(refused("tags", serde_json::json!(["t"])), Malformed::TagNotAnArray);
        assert_eq!(refused("tags", serde_json::json!([[]])), Malformed::EmptyTag);
        assert_eq!(refused("tags", serde_json::json!([[1]])), Malformed::TagNameNotAString);
        assert_eq!(refused("tags", serde_json::json!([["t", 1]])), Malformed::TagValueNotAString);
        assert_eq!(Event::parse("{}"), Err(Malformed::MissingKey("id")));
        assert_eq!(Event::parse("{\"id\":"), Err(Malformed::NotJson));
        assert_eq!(Event::parse("{\"id\":1,\"id\":1}"), Err(Malformed::NotJson));
        for text in ["[1,2]", "7", "-7", "7.5", "true", "null", "\"x\""] {
            assert_eq!(Event::parse(text), Err(Malformed::NotAnObject), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text: String) {
            let _ = Event::parse(&text);
        }

        #[test]
        fn an_event_cut_anywhere_is_refused(at in 0usize..300) {
            let text = event_with("absent", Value::Null);
            let at = at.min(text.len() - 1);
            prop_assert!(Event::parse(&text[..at]).is_err());
        }
    }
}
