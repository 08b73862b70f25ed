//! A NIP-01 filter as we send it, and whether an event matches it.

use serde::Serialize;

use super::{EventId, Pubkey};
use crate::strfry_db;

/// What is asked of a relay. A field that is `None` does not restrict.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Filter {
    /// These events only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<EventId>>,
    /// These authors only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authors: Option<Vec<Pubkey>>,
    /// These kinds only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kinds: Option<Vec<u64>>,
    /// Not before this second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// Not after this second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// At most so many events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

impl Filter {
    /// Whether an event with this header was asked for; `limit` does not matter.
    pub fn matches(&self, id: &EventId, pubkey: &Pubkey, kind: u64, created_at: u64) -> bool {
        contains(self.ids.as_deref(), id)
            && contains(self.authors.as_deref(), pubkey)
            && contains(self.kinds.as_deref(), &kind)
            && self.since.is_none_or(|since| created_at >= since)
            && self.until.is_none_or(|until| created_at <= until)
    }
}

impl From<&Filter> for strfry_db::Filter {
    /// What is asked of peers, asked of the database.
    fn from(filter: &Filter) -> Self {
        let mut asked = Self::new();
        if let Some(ids) = &filter.ids {
            asked = asked.ids(ids.iter().copied());
        }
        if let Some(authors) = &filter.authors {
            asked = asked.authors(authors.iter().copied());
        }
        if let Some(kinds) = &filter.kinds {
            asked = asked.kinds(kinds.iter().copied());
        }
        asked
            .since(filter.since.unwrap_or(0))
            .until(filter.until.unwrap_or(u64::MAX))
            .limit(filter.limit.unwrap_or(u64::MAX))
    }
}

/// Right for lists in any order. They are short (some hundred at most), and what is looked up here
/// costs a signature check afterwards.
fn contains<T: PartialEq>(allowed: Option<&[T]>, item: &T) -> bool {
    allowed.is_none_or(|allowed| allowed.contains(item))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_written_without_the_fields_that_do_not_restrict() {
        let filter = Filter {
            kinds: Some(vec![0, 3]),
            until: Some(9),
            limit: Some(500),
            ..Filter::default()
        };
        assert_eq!(
            serde_json::to_string(&filter).unwrap(),
            r#"{"kinds":[0,3],"until":9,"limit":500}"#
        );
    }

    #[test]
    fn lists_match_in_whatever_order_they_are() {
        let ids = [3, 1, 2, 1].map(|byte| EventId::from_bytes([byte; 32]));
        let authors = [2, 3, 1].map(|byte| Pubkey::from_bytes([byte; 32]));
        let filter = Filter {
            ids: Some(ids.to_vec()),
            authors: Some(authors.to_vec()),
            kinds: Some(vec![7, 0, 3]),
            ..Filter::default()
        };
        for (id, author, kind) in [(0, 0, 0), (1, 1, 1), (2, 2, 2)] {
            assert!(filter.matches(&ids[id], &authors[author], [7, 0, 3][kind], 5));
        }
        assert!(!filter.matches(&ids[0], &authors[0], 1, 5));
    }

    #[test]
    fn an_event_matches_when_every_restriction_holds() {
        let [id, author, other] = [1, 2, 3].map(|byte| [byte; 32]);
        let (id, author, other) =
            (EventId::from_bytes(id), Pubkey::from_bytes(author), Pubkey::from_bytes(other));
        let filter = Filter {
            authors: Some(vec![author]),
            kinds: Some(vec![0, 1]),
            since: Some(10),
            until: Some(20),
            ..Filter::default()
        };
        assert!(filter.matches(&id, &author, 1, 10) && filter.matches(&id, &author, 0, 20));
        assert!(!filter.matches(&id, &other, 1, 10));
        assert!(!filter.matches(&id, &author, 2, 10));
        assert!(!filter.matches(&id, &author, 1, 9) && !filter.matches(&id, &author, 1, 21));
        assert!(Filter::default().matches(&id, &other, 99, 0));
    }
}
