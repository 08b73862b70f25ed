//! Parses the JSON of filters: takes and refuses what strfry takes and refuses, in its words.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::Filter;
use crate::format::packed_event::MAX_TAG_VALUE;
use crate::nostr::{EventId, Pubkey};

/// Tag fields in one filter. strfry 1.1.1, `NostrFilter`.
pub(super) const MAX_TAG_FIELDS: usize = 3;
/// Bytes of an id or a pubkey.
const KEY: usize = 32;

/// Why a filter is refused. Its text says it in strfry's words, then what to do.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct FilterError(#[from] Problem);

#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    #[error("the filter is no valid JSON: {0}; quote it for the shell, as in '{{\"kinds\":[0]}}'")]
    NotJson(serde_json::Error),
    #[error("too small: the list has no filter; {{}} is the filter that matches everything")]
    NoFilter,
    #[error("provided filter is not an object; a filter looks like {{\"kinds\":[0]}}")]
    NotAnObject,
    #[error(
        "unrecognised filter item: {0}; there are ids, authors, kinds, since, until, limit, and # with one character"
    )]
    Unrecognised(String),
    #[error("{0} not an array; write [ ] around its value")]
    NotAnArray(String),
    #[error("error parsing {field}: {problem}")]
    Item { field: String, problem: ItemProblem },
    #[error("error parsing {0}; it takes an unsigned whole number")]
    NotUnsigned(&'static str),
    #[error("too many tags in filter; at most 3 fields may begin with #")]
    TooManyTags,
}

/// What is wrong with an element of a filter's array.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ItemProblem {
    #[error("not a string; write quotes around it")]
    NotText,
    #[error("not an unsigned whole number; write kinds without quotes, sign or fraction")]
    NotUnsigned,
    #[error("uneven size input to from_hex; it takes 64 hex digits")]
    UnevenHex,
    #[error("unexpected character in from_hex: {0}; it takes 64 hex digits")]
    NotHex(u8),
    #[error("filter item too small; it takes 64 hex digits")]
    TooSmall,
    #[error("filter item too large; ids and pubkeys have 64 hex digits, tag values 255 bytes")]
    TooLarge,
    #[error("unindexed tag filter; only tags whose name is one character are indexed")]
    NotOneCharacter,
}

impl Filter {
    /// Parses a JSON object, or an array of them.
    ///
    /// # Errors
    /// [`FilterError`]
    pub fn parse(json: &str) -> Result<Vec<Self>, FilterError> {
        let parsed = match serde_json::from_str(json).map_err(Problem::NotJson)? {
            Json::Array(filters) if filters.is_empty() => Err(Problem::NoFilter),
            Json::Array(filters) => filters.into_iter().map(Self::of_json).collect(),
            filter => Self::of_json(filter).map(|filter| vec![filter]),
        };
        parsed.map_err(FilterError)
    }

    fn of_json(filter: Json) -> Result<Self, Problem> {
        let Json::Object(fields) = filter else { return Err(Problem::NotAnObject) };
        let mut taken = Taken::default();
        // In the order of their names, as strfry takes them, so that of several faults the same one
        // is named.
        for (name, value) in fields {
            taken.field(name, value)?;
        }
        let Taken { mut filter, tags, has_empty_tag } = taken;
        for (name, values) in tags {
            filter.add_tag(name, values)?;
        }
        if has_empty_tag {
            filter.ids = Some(Vec::new());
        }
        Ok(filter)
    }
}

/// What has been taken of a filter's fields.
#[derive(Default)]
struct Taken {
    filter: Filter,
    /// Names and values as they are packed.
    tags: Vec<(u8, Vec<Vec<u8>>)>,
    /// A field that begins with `#` is empty; then strfry does not look at its name.
    has_empty_tag: bool,
}

impl Taken {
    fn field(&mut self, field: String, value: Value) -> Result<(), Problem> {
        let unsigned = |name| value.as_u64().ok_or(Problem::NotUnsigned(name));
        match field.as_str() {
            "since" => self.filter.since = unsigned("since")?,
            "until" => self.filter.until = unsigned("until")?,
            "limit" => self.filter.limit = unsigned("limit")?,
            "ids" | "authors" | "kinds" => return self.list(field, value),
            name if name.starts_with('#') => return self.list(field, value),
            _ => return Err(Problem::Unrecognised(field)),
        }
        Ok(())
    }

    fn list(&mut self, field: String, value: Value) -> Result<(), Problem> {
        let Value::Array(items) = value else { return Err(Problem::NotAnArray(field)) };
        if items.is_empty() && field.starts_with('#') {
            self.has_empty_tag = true;
            return Ok(());
        }
        self.items(&field, &items).map_err(|problem| Problem::Item { field, problem })
    }

    fn items(&mut self, field: &str, items: &[Value]) -> Result<(), ItemProblem> {
        let filter = std::mem::take(&mut self.filter);
        self.filter = match *field.as_bytes() {
            [b'#', name] => {
                let value = |item: &Value| tag_value(name, text(item)?);
                self.tags.push((name, parsed(items, value)?));
                filter
            }
            [b'#', ..] => return Err(ItemProblem::NotOneCharacter),
            _ if field == "ids" => {
                filter.ids(parsed(items, |item| key(text(item)?).map(EventId::from_bytes))?)
            }
            _ if field == "authors" => {
                filter.authors(parsed(items, |item| key(text(item)?).map(Pubkey::from_bytes))?)
            }
            _ => filter.kinds(parsed(items, |item| item.as_u64().ok_or(ItemProblem::NotUnsigned))?),
        };
        Ok(())
    }
}

fn parsed<T>(
    items: &[Value],
    parse: impl Fn(&Value) -> Result<T, ItemProblem>,
) -> Result<Vec<T>, ItemProblem> {
    items.iter().map(parse).collect()
}

fn text(item: &Value) -> Result<&str, ItemProblem> {
    item.as_str().ok_or(ItemProblem::NotText)
}

/// strfry takes hex of any case, and with `0x` in front.
fn key(text: &str) -> Result<[u8; KEY], ItemProblem> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    if !digits.len().is_multiple_of(2) {
        return Err(ItemProblem::UnevenHex);
    }
    if let Some(other) = digits.bytes().find(|digit| !digit.is_ascii_hexdigit()) {
        return Err(ItemProblem::NotHex(other));
    }
    let wrong_size =
        if digits.len() < 2 * KEY { ItemProblem::TooSmall } else { ItemProblem::TooLarge };
    Pubkey::from_hex(digits).map(|key| *key.as_bytes()).ok_or(wrong_size)
}

/// A tag's value as strfry packs it.
pub(super) fn tag_value(name: u8, text: &str) -> Result<Vec<u8>, ItemProblem> {
    match name {
        b'e' | b'p' => key(text).map(|key| key.to_vec()),
        _ if text.len() > MAX_TAG_VALUE => Err(ItemProblem::TooLarge),
        _ => Ok(text.into()),
    }
}

/// JSON down to the fields of a filter. Unlike [`Value`], refuses a field that comes twice, as
/// strfry does.
enum Json {
    Array(Vec<Json>),
    Object(BTreeMap<String, Value>),
    Other,
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

macro_rules! other {
    ($($visit:ident($type:ty);)*) => {
        $(fn $visit<E>(self, _: $type) -> Result<Json, E> {
            Ok(Json::Other)
        })*
    };
}

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a filter or an array of filters")
    }

    other! { visit_bool(bool); visit_i64(i64); visit_u64(u64); visit_f64(f64); visit_str(&str); }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element()? {
            array.push(item);
        }
        Ok(Json::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Json, A::Error> {
        let mut object = BTreeMap::new();
        while let Some((name, value)) = fields.next_entry::<String, Value>()? {
            if object.contains_key(&name) {
                return Err(A::Error::custom(format!("duplicate JSON object key \"{name}\"")));
            }
            object.insert(name, value);
        }
        Ok(Json::Object(object))
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
