//! One parsed event, borrowing from the text it came in.
//!
//! The parser accepts what strfry's accepts and names its refusals in strfry's words; what strfry
//! configures (sizes, numbers of tags) is checked when the event is encoded, not here.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{EventId, Pubkey, Signature, json};

/// Why a text is no event. The wording is that of strfry 1.1.1 where strfry has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The text is not JSON, or one of its objects repeats a key.
    #[error("unable to parse JSON")]
    NotJson,
    /// strfry's parser goes as deep as the event says, on its threads' stacks; ours does not.
    #[error("nested more than 127 deep")]
    TooDeep,
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
    /// Its tags are not what they must be, or there are more values than `MOST_VALUES`.
    #[error("{0}")]
    Tags(&'static str),
}

const TOO_MANY_TAGS: Malformed = Malformed::Tags("too many tags");
const TAGS_NOT_AN_ARRAY: Malformed = Malformed::Tags("tags field not an array");
const TAG_NOT_AN_ARRAY: Malformed = Malformed::Tags("tag in tags field was not an array");
const EMPTY_TAG: Malformed = Malformed::Tags("too few fields in tag");
const TAG_NAME_NOT_A_STRING: Malformed = Malformed::Tags("tag name was not a string");
const TAG_VALUE_NOT_A_STRING: Malformed = Malformed::Tags("tag val was not a string");

/// Commas and opening brackets outside strings of one event: each may stand for a value that takes
/// up to 60 bytes once it is parsed. An event of strfry's default size (65,536 bytes,
/// `events.maxEventSize`) has at most 26,000 of them, as 13,000 tags of one empty field.
pub const MOST_VALUES: usize = 100_000;

/// One field of a tag. The first two are always [`TagField::Text`]; strfry lets later ones be any
/// JSON.
#[derive(Debug, Clone, PartialEq)]
pub enum TagField<'a> {
    /// A string, unescaped.
    Text(Cow<'a, str>),
    /// Anything else, as its author wrote it: compact JSON, with each number's own digits and each
    /// object's own order of keys.
    Other(Box<str>),
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
    /// Parses one JSON object, in one pass.
    ///
    /// # Errors
    /// [`Malformed`] says what is wrong first, in the order in which strfry looks.
    pub fn parse(text: &'a str) -> Result<Self, Malformed> {
        if has_too_many_values(text) {
            return Err(TOO_MANY_TAGS);
        }
        let fields = match serde_json::from_str::<TopLevel<'a>>(text) {
            Ok(TopLevel(Some(fields))) => fields,
            Ok(TopLevel(None)) => return Err(Malformed::NotAnObject),
            Err(error) => return Err(not_json(&error)),
        };
        let id = hex_field("id", fields.id)?;
        let pubkey = hex_field("pubkey", fields.pubkey)?;
        let created_at = integer("created_at", fields.created_at)?;
        let kind = integer("kind", fields.kind)?;
        let content = present("content", fields.content)?.0;
        let content = content.ok_or(Malformed::NotAString("content"))?;
        let tags = present("tags", fields.tags)?.0?;
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

/// Counts no further than needed. Where a text stops being JSON the count means nothing, and the parser stops.
fn has_too_many_values(text: &str) -> bool {
    if text.len() <= MOST_VALUES {
        return false;
    }
    let (mut values, mut is_text, mut is_escaped) = (0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            b',' | b'[' | b'{' if !is_text => values += 1,
            _ => {}
        }
        if values > MOST_VALUES {
            return true;
        }
    }
    false
}

/// serde_json has no kind for this error, only the words.
fn not_json(error: &serde_json::Error) -> Malformed {
    match error.to_string().contains("recursion limit exceeded") {
        true => Malformed::TooDeep,
        false => Malformed::NotJson,
    }
}

fn present<T>(key: &'static str, field: Option<T>) -> Result<T, Malformed> {
    field.ok_or(Malformed::MissingKey(key))
}

fn integer(key: &'static str, field: Option<Integer>) -> Result<u64, Malformed> {
    present(key, field)?.0.ok_or(Malformed::NotAnInteger(key))
}

fn hex_field<const N: usize>(
    key: &'static str,
    field: Option<Hex<N>>,
) -> Result<[u8; N], Malformed> {
    match present(key, field)? {
        Hex::Bytes(bytes) => Ok(bytes),
        Hex::OtherText => Err(Malformed::BadHex(key)),
        Hex::NotText => Err(Malformed::NotAString(key)),
    }
}

/// What some JSON value, of whatever type, is read as. Each method has a type of JSON value for
/// its subject; what an implementation has no use for becomes [`FromAny::other`].
trait FromAny<'de>: Sized {
    fn other() -> Self;

    fn text(_: Cow<'de, str>) -> Self {
        Self::other()
    }

    fn unsigned(_: u64) -> Self {
        Self::other()
    }

    fn array<A: SeqAccess<'de>>(mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Strict>()?.is_some() {}
        Ok(Self::other())
    }

    fn object<A: MapAccess<'de>>(mut members: A) -> Result<Self, A::Error> {
        let mut keys = Keys::default();
        while let Some(Key(key)) = members.next_key()? {
            keys.add(key)?;
            members.next_value::<Strict>()?;
        }
        Ok(Self::other())
    }
}

/// Any value in which no object repeats a key: strfry parses no other.
struct Strict;

impl FromAny<'_> for Strict {
    fn other() -> Self {
        Self
    }
}

/// The keys of an object.
#[derive(Default)]
struct Keys<'a>(HashSet<Cow<'a, str>>);

impl<'a> Keys<'a> {
    fn add<E: Error>(&mut self, key: Cow<'a, str>) -> Result<(), E> {
        match self.0.insert(key) {
            true => Ok(()),
            false => Err(E::custom("a key is repeated")),
        }
    }
}

struct AnyVisitor<T>(PhantomData<T>);

impl<'de, T: FromAny<'de>> Visitor<'de> for AnyVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<T, E> {
        Ok(T::text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        Ok(T::text(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        Ok(T::unsigned(number))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<T, E> {
        Ok(T::other())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<T, E> {
        Ok(T::other())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<T, E> {
        Ok(T::other())
    }

    fn visit_unit<E: Error>(self) -> Result<T, E> {
        Ok(T::other())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<T, A::Error> {
        T::array(items)
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
        T::object(members)
    }
}

macro_rules! deserialize_from_any {
    ($(impl[$($generics:tt)*] $type:ty;)*) => {$(
        impl<'de, $($generics)*> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(AnyVisitor(PhantomData))
            }
        }
    )*};
}

deserialize_from_any! {
    impl[] TopLevel<'de>;
    impl[] Text<'de>;
    impl[] Integer;
    impl[const N: usize] Hex<N>;
    impl[] Tags<'de>;
    impl[] Tag<'de>;
    impl[] Strict;
}

/// The fields of an object; `None` for any other JSON value.
struct TopLevel<'a>(Option<Box<Fields<'a>>>);

#[derive(Default)]
struct Fields<'a> {
    id: Option<Hex<32>>,
    pubkey: Option<Hex<32>>,
    created_at: Option<Integer>,
    kind: Option<Integer>,
    tags: Option<Tags<'a>>,
    content: Option<Text<'a>>,
    sig: Option<Hex<64>>,
}

impl<'de> FromAny<'de> for TopLevel<'de> {
    fn other() -> Self {
        Self(None)
    }

    fn object<A: MapAccess<'de>>(mut members: A) -> Result<Self, A::Error> {
        let mut fields = Box::<Fields<'de>>::default();
        let mut unknown = Keys::default();
        while let Some(Key(key)) = members.next_key()? {
            match key.as_ref() {
                "id" => read(&mut fields.id, &mut members)?,
                "pubkey" => read(&mut fields.pubkey, &mut members)?,
                "created_at" => read(&mut fields.created_at, &mut members)?,
                "kind" => read(&mut fields.kind, &mut members)?,
                "tags" => read(&mut fields.tags, &mut members)?,
                "content" => read(&mut fields.content, &mut members)?,
                "sig" => read(&mut fields.sig, &mut members)?,
                _ => {
                    unknown.add(key)?;
                    members.next_value::<Strict>()?;
                }
            }
        }
        Ok(Self(Some(fields)))
    }
}

/// A key of an object; borrows where nothing is escaped, which `Cow` by itself does not.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

fn read<'de, T: Deserialize<'de>, A: MapAccess<'de>>(
    field: &mut Option<T>,
    members: &mut A,
) -> Result<(), A::Error> {
    match field.replace(members.next_value()?) {
        None => Ok(()),
        Some(_) => Err(A::Error::custom("a key is repeated")),
    }
}

/// `None`: no string.
struct Text<'a>(Option<Cow<'a, str>>);

impl<'de> FromAny<'de> for Text<'de> {
    fn other() -> Self {
        Self(None)
    }

    fn text(text: Cow<'de, str>) -> Self {
        Self(Some(text))
    }
}

/// `None`: no unsigned integer.
struct Integer(Option<u64>);

impl<'de> FromAny<'de> for Integer {
    fn other() -> Self {
        Self(None)
    }

    fn unsigned(number: u64) -> Self {
        Self(Some(number))
    }
}

enum Hex<const N: usize> {
    Bytes([u8; N]),
    OtherText,
    NotText,
}

impl<'de, const N: usize> FromAny<'de> for Hex<N> {
    fn other() -> Self {
        Self::NotText
    }

    fn text(text: Cow<'de, str>) -> Self {
        super::hex::decode_lowercase(text.as_bytes()).map_or(Self::OtherText, Self::Bytes)
    }
}

/// The tags, or what is wrong with the first of them that is wrong.
struct Tags<'a>(Result<Vec<Vec<TagField<'a>>>, Malformed>);

impl<'de> FromAny<'de> for Tags<'de> {
    fn other() -> Self {
        Self(Err(TAGS_NOT_AN_ARRAY))
    }

    fn array<A: SeqAccess<'de>>(mut items: A) -> Result<Self, A::Error> {
        let mut tags = Vec::new();
        while let Some(Tag(tag)) = items.next_element()? {
            match tag {
                Ok(tag) => tags.push(tag),
                Err(malformed) => {
                    while items.next_element::<IgnoredAny>()?.is_some() {}
                    return Ok(Self(Err(malformed)));
                }
            }
        }
        Ok(Self(Ok(tags)))
    }
}

struct Tag<'a>(Result<Vec<TagField<'a>>, Malformed>);

impl<'de> FromAny<'de> for Tag<'de> {
    fn other() -> Self {
        Self(Err(TAG_NOT_AN_ARRAY))
    }

    fn array<A: SeqAccess<'de>>(mut items: A) -> Result<Self, A::Error> {
        // Most tags have two or three fields.
        let mut fields = Vec::with_capacity(3);
        let mut wrong = Some(EMPTY_TAG);
        for malformed in [TAG_NAME_NOT_A_STRING, TAG_VALUE_NOT_A_STRING] {
            let Some(Text(text)) = items.next_element()? else { break };
            wrong = text.is_none().then_some(malformed);
            fields.push(TagField::Text(text.unwrap_or_default()));
            if wrong.is_some() {
                break;
            }
        }
        while let Some(field) = items.next_element()? {
            fields.push(field);
        }
        Ok(Self(wrong.map_or(Ok(fields), Err)))
    }
}

impl<'de> Deserialize<'de> for TagField<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&RawValue>::deserialize(deserializer)?.get();
        // serde_json does not look into a value that it gives as it stands.
        match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
            Some(text) if !text.contains('\\') => Ok(Self::Text(Cow::Borrowed(text))),
            Some(_) => serde_json::from_str(text).map(Cow::Owned).map(Self::Text),
            None => {
                serde_json::from_str(text).map(|Strict| Self::Other(json::compact(text).into()))
            }
        }
        .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

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
            [TagField::Other("1".into()), TagField::Other("[-2,true]".into())]
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
        assert_eq!(refused("tags", "t".into()), TAGS_NOT_AN_ARRAY);
        assert_eq!(refused("tags", serde_json::json!(["t"])), TAG_NOT_AN_ARRAY);
        assert_eq!(refused("tags", serde_json::json!([[]])), EMPTY_TAG);
        assert_eq!(refused("tags", serde_json::json!([[1]])), TAG_NAME_NOT_A_STRING);
        assert_eq!(refused("tags", serde_json::json!([["t", 1]])), TAG_VALUE_NOT_A_STRING);
        assert_eq!(Event::parse("{}"), Err(Malformed::MissingKey("id")));
        assert_eq!(Event::parse("{\"id\":"), Err(Malformed::NotJson));
        assert_eq!(Event::parse("{\"id\":1,\"id\":1}"), Err(Malformed::NotJson));
        let repeated = event_with("tags", serde_json::json!([["t", "x", [{"a": 1}]]]));
        let repeated = repeated.replace(r#"{"a":1}"#, r#"{"a":1,"a":1}"#);
        assert_eq!(Event::parse(&repeated), Err(Malformed::NotJson));
        for text in ["[1,2]", "7", "-7", "7.5", "true", "null", "\"x\""] {
            assert_eq!(Event::parse(text), Err(Malformed::NotAnObject), "{text}");
        }
    }

    #[test]
    fn an_event_of_more_values_than_any_relay_takes_is_refused_before_they_fill_the_memory() {
        let with = |tags: &str| event_with("absent", Value::Null).replace(r#"[["t","x"]]"#, tags);
        let many = |value: &str, count| vec![value; count].join(",");
        let keys = || (0..120_000).map(|number| format!(r#""{number}":0"#)).collect::<Vec<_>>();
        for (tags, is_refused) in [
            (format!("[{}]", many(r#"["a"]"#, 340_000)), true),
            (format!("[{}]", many(r#"["a"]"#, 50_001)), true),
            (format!(r#"[["a",{}]]"#, many(r#""""#, 690_000)), true),
            (format!(r#"[["a","b",{}]]"#, many("{}", 690_000)), true),
            (format!(r#"[["a","b",{{{}}}]]"#, keys().join(",")), true),
            (format!(r#"[["a","b",{}]]"#, many("[0]", 60_000)), true),
            // As many as fit into 65,536 bytes.
            (format!("[{}]", many(r#"[""]"#, 13_107)), false),
            (format!(r#"[["a",{}]]"#, many(r#""""#, 99_000)), false),
            // These are text.
            (format!(r#"[["a","\"{}"]]"#, ",[{".repeat(100_000)), false),
        ] {
            let text = with(&tags);
            let parsed = Event::parse(&text).map(|_| ());
            let expected = if is_refused { Err(TOO_MANY_TAGS) } else { Ok(()) };
            assert_eq!(parsed, expected, "{}...", &tags[..40]);
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
