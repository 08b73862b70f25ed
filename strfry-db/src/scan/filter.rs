//! What `scan` is asked: NIP-01 filters, taken and refused as strfry takes and refuses them.
//!
//! Owns parsing and matching. Beyond strfry, a filter may name any number of ids and authors:
//! strfry stops at 65,535 bytes of them.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::super::packed::{MAX_TAG_VALUE, PackedEvent};
use crate::nostr::{EventId, Filter, Pubkey};

/// Tag fields in one filter. strfry 1.1.1, `NostrFilter`.
const MAX_TAG_FIELDS: usize = 3;
/// Bytes of an id or a pubkey.
const KEY: usize = 32;

/// Why a filter is refused: in strfry's words, then what to do.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum FilterError {
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
#[allow(missing_docs, reason = "the messages say it")]
pub enum ItemProblem {
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

/// A filter as strfry understands it. Lists are sorted and without repeats; a field that is `None`
/// does not restrict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanFilter {
    pub(super) ids: Option<Vec<EventId>>,
    pub(super) authors: Option<Vec<Pubkey>>,
    pub(super) kinds: Option<Vec<u64>>,
    pub(super) tags: Vec<TagFilter>,
    pub(super) since: u64,
    pub(super) until: u64,
    pub(super) limit: u64,
    /// One of its arrays is empty.
    matches_nothing: bool,
}

/// One `#x` of a filter: the values as they are packed, sorted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TagFilter {
    pub(super) name: u8,
    pub(super) values: Vec<Vec<u8>>,
}

impl Default for ScanFilter {
    /// The filter that matches everything.
    fn default() -> Self {
        Self {
            ids: None,
            authors: None,
            kinds: None,
            tags: Vec::new(),
            since: 0,
            until: u64::MAX,
            limit: u64::MAX,
            matches_nothing: false,
        }
    }
}

impl From<&Filter> for ScanFilter {
    /// What is asked of peers, asked of the database.
    fn from(filter: &Filter) -> Self {
        let is_empty = filter.ids.as_ref().is_some_and(Vec::is_empty)
            || filter.authors.as_ref().is_some_and(Vec::is_empty)
            || filter.kinds.as_ref().is_some_and(Vec::is_empty);
        Self {
            ids: filter.ids.clone().map(in_order),
            authors: filter.authors.clone().map(in_order),
            kinds: filter.kinds.clone().map(in_order),
            tags: Vec::new(),
            since: filter.since.unwrap_or(0),
            until: filter.until.unwrap_or(u64::MAX),
            limit: filter.limit.unwrap_or(u64::MAX),
            matches_nothing: is_empty,
        }
    }
}

fn in_order<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    items.sort_unstable();
    items.dedup();
    items
}

impl ScanFilter {
    /// Parses a JSON object, or an array of them.
    ///
    /// # Errors
    /// [`FilterError`]
    pub fn parse(json: &str) -> Result<Vec<Self>, FilterError> {
        match serde_json::from_str(json).map_err(FilterError::NotJson)? {
            Json::Array(filters) if filters.is_empty() => Err(FilterError::NoFilter),
            Json::Array(filters) => filters.into_iter().map(Self::of_json).collect(),
            filter => Ok(vec![Self::of_json(filter)?]),
        }
    }

    /// Whether the event is one of those that are asked for; `limit` does not matter.
    pub fn matches(&self, event: &PackedEvent<'_>) -> bool {
        !self.matches_nothing
            && (self.since..=self.until).contains(&event.created_at())
            && contains(self.ids.as_deref(), &event.id())
            && contains(self.authors.as_deref(), &event.pubkey())
            && contains(self.kinds.as_deref(), &event.kind())
            && self.tags.iter().all(|tag| tag.matches(event))
    }

    /// Whether it is known without looking that nothing is found.
    pub(super) fn is_empty(&self) -> bool {
        self.matches_nothing || self.limit == 0 || self.since > self.until
    }

    /// Fields are taken in the order of their names, as strfry does, so that of several faults the
    /// same one is named.
    fn of_json(filter: Json) -> Result<Self, FilterError> {
        let Json::Object(fields) = filter else { return Err(FilterError::NotAnObject) };
        let mut filter = Self::default();
        for (name, value) in fields {
            filter.set(name, value)?;
        }
        if filter.tags.len() > MAX_TAG_FIELDS {
            return Err(FilterError::TooManyTags);
        }
        Ok(filter)
    }

    fn set(&mut self, field: String, value: Value) -> Result<(), FilterError> {
        let unsigned = |name| value.as_u64().ok_or(FilterError::NotUnsigned(name));
        match field.as_str() {
            "since" => self.since = unsigned("since")?,
            "until" => self.until = unsigned("until")?,
            "limit" => self.limit = unsigned("limit")?,
            "ids" | "authors" | "kinds" => return self.set_list(field, value),
            name if name.starts_with('#') => return self.set_list(field, value),
            _ => return Err(FilterError::Unrecognised(field)),
        }
        Ok(())
    }

    fn set_list(&mut self, field: String, value: Value) -> Result<(), FilterError> {
        let Value::Array(items) = value else { return Err(FilterError::NotAnArray(field)) };
        if items.is_empty() {
            self.matches_nothing = true;
            return Ok(());
        }
        self.set_items(&field, &items).map_err(|problem| FilterError::Item { field, problem })
    }

    fn set_items(&mut self, field: &str, items: &[Value]) -> Result<(), ItemProblem> {
        match *field.as_bytes() {
            [b'#', name @ (b'e' | b'p')] => {
                let values = sorted(items, |item| key(item).map(|key| key.to_vec()))?;
                self.tags.push(TagFilter { name, values });
            }
            [b'#', name] => {
                self.tags.push(TagFilter { name, values: sorted(items, tag_value)? });
            }
            [b'#', ..] => return Err(ItemProblem::NotOneCharacter),
            _ if field == "ids" => {
                self.ids = Some(sorted(items, |item| key(item).map(EventId::from_bytes))?);
            }
            _ if field == "authors" => {
                self.authors = Some(sorted(items, |item| key(item).map(Pubkey::from_bytes))?);
            }
            _ => {
                let kind = |item: &Value| item.as_u64().ok_or(ItemProblem::NotUnsigned);
                self.kinds = Some(sorted(items, kind)?);
            }
        }
        Ok(())
    }
}

impl TagFilter {
    fn matches(&self, event: &PackedEvent<'_>) -> bool {
        let wanted = |value| self.values.binary_search_by(|v| v.as_slice().cmp(value)).is_ok();
        event.tags().any(|(name, value)| name == self.name && wanted(value))
    }
}

fn contains<T: Ord>(allowed: Option<&[T]>, item: &T) -> bool {
    allowed.is_none_or(|allowed| allowed.binary_search(item).is_ok())
}

fn sorted<T: Ord>(
    items: &[Value],
    parse: impl Fn(&Value) -> Result<T, ItemProblem>,
) -> Result<Vec<T>, ItemProblem> {
    let mut items: Vec<T> = items.iter().map(parse).collect::<Result<_, _>>()?;
    items.sort_unstable();
    items.dedup();
    Ok(items)
}

/// strfry takes hex of any case, and with `0x` in front.
fn key(item: &Value) -> Result<[u8; KEY], ItemProblem> {
    let text = item.as_str().ok_or(ItemProblem::NotText)?;
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

fn tag_value(item: &Value) -> Result<Vec<u8>, ItemProblem> {
    let text = item.as_str().ok_or(ItemProblem::NotText)?;
    if text.len() > MAX_TAG_VALUE { Err(ItemProblem::TooLarge) } else { Ok(text.into()) }
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
#[path = "filter_tests.rs"]
mod tests;
