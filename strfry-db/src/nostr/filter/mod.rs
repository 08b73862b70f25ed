//! A NIP-01 filter: built or parsed, written as JSON, and whether an event matches it.
//!
//! Matches what strfry matches. Beyond strfry, a filter may name any number of ids and authors:
//! strfry stops at 65,535 bytes of them.

mod parse;

use std::fmt;

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::{EventId, Pubkey, hex};
use crate::format::packed_event::PackedEvent;
pub use parse::FilterError;
use parse::{ItemProblem, Problem};

/// Which events are asked for. A field that is not set does not restrict; a list that is set and
/// empty matches nothing.
///
/// ```
/// use strfry_db::Filter;
///
/// let filter = Filter::new().kinds([1, 6]).tag('t', ["nostr"])?.limit(100);
/// assert_eq!(filter.to_string(), r##"{"kinds":[1,6],"#t":["nostr"],"limit":100}"##);
/// assert_eq!(Filter::parse(r##"{"kinds":[6,1],"#t":["nostr"],"limit":100}"##)?, [filter]);
/// # Ok::<(), strfry_db::FilterError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Filter {
    /// Each list is sorted and without repeats.
    pub(crate) ids: Option<Vec<EventId>>,
    pub(crate) authors: Option<Vec<Pubkey>>,
    pub(crate) kinds: Option<Vec<u64>>,
    /// By name, each name once.
    pub(crate) tags: Vec<TagFilter>,
    pub(crate) since: u64,
    pub(crate) until: u64,
    pub(crate) limit: u64,
}

/// One `#x` of a filter.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct TagFilter {
    pub(crate) name: u8,
    /// As they are packed, sorted and without repeats.
    pub(crate) values: Vec<Vec<u8>>,
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            ids: None,
            authors: None,
            kinds: None,
            tags: Vec::new(),
            since: 0,
            until: u64::MAX,
            limit: u64::MAX,
        }
    }
}

/// Builds a filter. A list or a tag that is given twice allows what either call names.
impl Filter {
    /// The filter that matches every event.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only events with these ids.
    #[must_use]
    pub fn ids(mut self, ids: impl IntoIterator<Item = EventId>) -> Self {
        add(self.ids.get_or_insert_default(), ids);
        self
    }

    /// Only events of these authors.
    #[must_use]
    pub fn authors(mut self, authors: impl IntoIterator<Item = Pubkey>) -> Self {
        add(self.authors.get_or_insert_default(), authors);
        self
    }

    /// Only events of these kinds.
    #[must_use]
    pub fn kinds(mut self, kinds: impl IntoIterator<Item = u64>) -> Self {
        add(self.kinds.get_or_insert_default(), kinds);
        self
    }

    /// Only events that have a tag of this name with one of these values. strfry indexes tags whose
    /// name is one byte and whose value is at most 255 bytes long; the values of `e` and `p` are 64
    /// hex digits.
    ///
    /// # Errors
    /// What strfry would refuse as `#name` of a filter.
    pub fn tag(
        mut self,
        name: char,
        values: impl IntoIterator<Item: AsRef<str>>,
    ) -> Result<Self, FilterError> {
        let values = values.into_iter();
        let in_field = |problem| Problem::Item { field: format!("#{name}"), problem };
        let name = u8::try_from(name).ok().filter(u8::is_ascii);
        let name = name.ok_or(ItemProblem::NotOneCharacter).map_err(in_field)?;
        let packed: Result<Vec<_>, _> =
            values.map(|value| parse::tag_value(name, value.as_ref())).collect();
        self.add_tag(name, packed.map_err(in_field)?)?;
        Ok(self)
    }

    /// Not before this second since 1970.
    #[must_use]
    pub fn since(self, since: u64) -> Self {
        Self { since, ..self }
    }

    /// Not after this second since 1970.
    #[must_use]
    pub fn until(self, until: u64) -> Self {
        Self { until, ..self }
    }

    /// At most so many events, the newest.
    #[must_use]
    pub fn limit(self, limit: u64) -> Self {
        Self { limit, ..self }
    }

    fn add_tag(&mut self, name: u8, values: Vec<Vec<u8>>) -> Result<(), Problem> {
        let at = match self.tags.binary_search_by_key(&name, |tag| tag.name) {
            Ok(at) => at,
            Err(_) if self.tags.len() == parse::MAX_TAG_FIELDS => {
                return Err(Problem::TooManyTags);
            }
            Err(at) => {
                self.tags.insert(at, TagFilter { name, values: Vec::new() });
                at
            }
        };
        if let Some(tag) = self.tags.get_mut(at) {
            add(&mut tag.values, values);
        }
        Ok(())
    }
}

/// What a filter asks for: lists are sorted and without repeats, `None` does not restrict.
impl Filter {
    /// The ids.
    #[doc(hidden)]
    pub fn get_ids(&self) -> Option<&[EventId]> {
        self.ids.as_deref()
    }

    /// The authors.
    #[doc(hidden)]
    pub fn get_authors(&self) -> Option<&[Pubkey]> {
        self.authors.as_deref()
    }

    /// The kinds.
    #[doc(hidden)]
    pub fn get_kinds(&self) -> Option<&[u64]> {
        self.kinds.as_deref()
    }

    /// The first second; 0 if none is set.
    #[doc(hidden)]
    pub fn get_since(&self) -> u64 {
        self.since
    }

    /// The last second; `u64::MAX` if none is set.
    #[doc(hidden)]
    pub fn get_until(&self) -> u64 {
        self.until
    }

    /// How many events at most; `u64::MAX` if none is set.
    #[doc(hidden)]
    pub fn get_limit(&self) -> u64 {
        self.limit
    }

    /// Whether the event is one of those that are asked for; `limit` does not matter.
    pub fn matches(&self, event: &PackedEvent<'_>) -> bool {
        (self.since..=self.until).contains(&event.created_at())
            && contains(self.get_ids(), &event.id())
            && contains(self.get_authors(), &event.pubkey())
            && contains(self.get_kinds(), &event.kind())
            && self.tags.iter().all(|tag| tag.matches(event))
    }

    /// Whether no event can be found, whatever the database holds: a list is empty, `limit` is 0,
    /// or `since` is after `until`.
    #[doc(hidden)]
    pub fn finds_nothing(&self) -> bool {
        self.ids.as_ref().is_some_and(Vec::is_empty)
            || self.authors.as_ref().is_some_and(Vec::is_empty)
            || self.kinds.as_ref().is_some_and(Vec::is_empty)
            || self.tags.iter().any(|tag| tag.values.is_empty())
            || self.limit == 0
            || self.since > self.until
    }
}

impl From<Filter> for Vec<Filter> {
    /// The list of this filter alone, so that a scan takes one filter or several.
    fn from(filter: Filter) -> Self {
        vec![filter]
    }
}

impl TagFilter {
    fn matches(&self, event: &PackedEvent<'_>) -> bool {
        let wanted = |value| self.values.binary_search_by(|v| v.as_slice().cmp(value)).is_ok();
        event.tags().any(|(name, value)| name == self.name && wanted(value))
    }

    /// The values as a filter's JSON has them.
    fn texts(&self) -> Vec<String> {
        let text = |value: &Vec<u8>| match self.name {
            b'e' | b'p' => hex::encode(value),
            // They come from texts.
            _ => String::from_utf8_lossy(value).into_owned(),
        };
        self.values.iter().map(text).collect()
    }
}

/// As NIP-01 writes it, without the fields that do not restrict.
impl Serialize for Filter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_map(None)?;
        if let Some(ids) = &self.ids {
            fields.serialize_entry("ids", ids)?;
        }
        if let Some(authors) = &self.authors {
            fields.serialize_entry("authors", authors)?;
        }
        if let Some(kinds) = &self.kinds {
            fields.serialize_entry("kinds", kinds)?;
        }
        for tag in &self.tags {
            fields.serialize_entry(&format!("#{}", char::from(tag.name)), &tag.texts())?;
        }
        let times = [
            ("since", self.since, 0),
            ("until", self.until, u64::MAX),
            ("limit", self.limit, u64::MAX),
        ];
        for (name, value, _) in times.into_iter().filter(|(_, value, unset)| value != unset) {
            fields.serialize_entry(name, &value)?;
        }
        fields.end()
    }
}

/// The filter's JSON.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

fn contains<T: Ord>(allowed: Option<&[T]>, item: &T) -> bool {
    allowed.is_none_or(|allowed| allowed.binary_search(item).is_ok())
}

fn add<T: Ord>(list: &mut Vec<T>, items: impl IntoIterator<Item = T>) {
    list.extend(items);
    list.sort_unstable();
    list.dedup();
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_built_filter_is_sorted_without_repeats_and_equals_the_parsed_one() {
        let [one, two] = [1, 2].map(|byte| [byte; 32]);
        let built = Filter::new()
            .authors([two, one, two].map(Pubkey::from_bytes))
            .ids([EventId::from_bytes(one)])
            .kinds([9, 1])
            .kinds([4, 9])
            .tag('t', ["b", "a"])
            .unwrap()
            .tag('e', [hex::encode(&two)])
            .unwrap()
            .tag('t', ["a", ""])
            .unwrap()
            .since(1)
            .until(8)
            .limit(7);
        let json = format!(
            r##"{{"ids":["{0}"],"authors":["{0}","{1}"],"kinds":[1,4,9],"#e":["{1}"],"#t":["","a","b"],"since":1,"until":8,"limit":7}}"##,
            hex::encode(&one),
            hex::encode(&two),
        );
        assert_eq!(built.to_string(), json);
        assert_eq!(Filter::parse(&json).unwrap(), [built]);
        assert_eq!(Filter::new().to_string(), "{}");
    }

    #[test]
    fn the_builder_refuses_the_tags_that_strfry_refuses() {
        let long = "a".repeat(256);
        for (name, value, refusal) in [
            ('é', "x", "error parsing #é: unindexed tag filter"),
            ('e', "x", "error parsing #e: uneven size input to from_hex"),
            ('p', "zz", "error parsing #p: unexpected character in from_hex: 122"),
            ('t', &long, "error parsing #t: filter item too large"),
        ] {
            let error = Filter::new().tag(name, [value]).unwrap_err().to_string();
            assert!(error.starts_with(refusal), "{error}");
        }
        let three =
            ['a', 'b', 'c'].into_iter().try_fold(Filter::new(), |it, name| it.tag(name, ["x"]));
        let three = three.unwrap();
        assert!(three.clone().tag('b', ["y"]).is_ok());
        let refusal = three.tag('d', ["x"]).unwrap_err().to_string();
        assert!(refusal.starts_with("too many tags in filter"), "{refusal}");
    }

    #[test]
    fn an_empty_list_asks_for_nothing_and_is_written() {
        let no_text: [&str; 0] = [];
        for (filter, json) in [
            (Filter::new().ids([]), r#"{"ids":[]}"#),
            (Filter::new().authors([]), r#"{"authors":[]}"#),
            (Filter::new().kinds([]), r#"{"kinds":[]}"#),
            (Filter::new().limit(0), r#"{"limit":0}"#),
            (Filter::new().since(2).until(1), r#"{"since":2,"until":1}"#),
        ] {
            assert!(filter.finds_nothing(), "{json}");
            assert_eq!(filter.to_string(), json);
            assert_eq!(Filter::parse(json).unwrap(), [filter]);
        }
        let tag = Filter::new().tag('t', no_text).unwrap();
        assert_eq!((tag.finds_nothing(), tag.to_string().as_str()), (true, r##"{"#t":[]}"##));
        assert!(Filter::parse(&tag.to_string()).unwrap()[0].finds_nothing());
        assert!(!Filter::new().since(1).until(1).limit(1).finds_nothing());
    }

    proptest! {
        #[test]
        fn a_filter_reads_back_as_it_was_written(
            ids in proptest::option::of(prop::collection::vec(any::<[u8; 32]>(), 0..3)),
            kinds in proptest::option::of(prop::collection::vec(any::<u64>(), 0..4)),
            tags in prop::collection::vec((prop::char::range(' ', '~'), ".{0,9}"), 0..4),
            times: [u64; 3],
        ) {
            let [since, until, limit] = times;
            let mut filter = Filter::new().since(since).until(until).limit(limit);
            if let Some(ids) = ids {
                filter = filter.ids(ids.into_iter().map(EventId::from_bytes));
            }
            if let Some(kinds) = kinds {
                filter = filter.kinds(kinds);
            }
            for (name, value) in tags.iter().filter(|(name, _)| !"ep".contains(*name)) {
                if let Ok(more) = filter.clone().tag(*name, [value]) {
                    filter = more;
                }
            }
            prop_assert_eq!(Filter::parse(&filter.to_string()).unwrap(), [filter]);
        }
    }
}
