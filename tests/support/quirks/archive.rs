//! The events of a relay, and which of them answer a filter.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::{Order, Quirks};

/// An event that a relay has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub id: String,
    pub pubkey: String,
    pub kind: u64,
    pub created_at: u64,
    /// The event as one line of JSON.
    pub line: String,
}

impl Stored {
    pub fn parse(line: &str) -> Self {
        let event: Value = serde_json::from_str(line).unwrap();
        let text = |field: &str| event[field].as_str().unwrap().to_owned();
        let number = |field: &str| event[field].as_u64().unwrap();
        Self {
            id: text("id"),
            pubkey: text("pubkey"),
            kind: number("kind"),
            created_at: number("created_at"),
            line: line.to_owned(),
        }
    }
}

/// All events of a relay, newest first.
#[derive(Debug, Clone, Default)]
pub struct Archive(Arc<Vec<Stored>>);

impl Archive {
    pub fn new(events: impl IntoIterator<Item = Stored>) -> Self {
        let mut events: Vec<Stored> = events.into_iter().collect();
        events.sort_by(|a, b| (Reverse(a.created_at), &a.id).cmp(&(Reverse(b.created_at), &b.id)));
        Self(Arc::new(events))
    }

    pub fn of_lines(lines: &[String]) -> Self {
        Self::new(lines.iter().map(|line| Stored::parse(line)))
    }

    pub fn events(&self) -> &[Stored] {
        &self.0
    }

    pub fn ids(&self) -> BTreeSet<String> {
        self.0.iter().map(|event| event.id.clone()).collect()
    }

    /// Everything that the filter matches, newest first.
    pub fn matching<'a>(&'a self, filter: &Value, quirks: &Quirks) -> Vec<&'a Stored> {
        self.0.iter().filter(|event| matches(filter, event, quirks)).collect()
    }

    /// One page for a filter.
    pub fn page<'a>(
        &'a self,
        filter: &Value,
        quirks: &Quirks,
        rng: &mut fastrand::Rng,
    ) -> Vec<&'a Stored> {
        let mut found = self.matching(filter, quirks);
        let limit = filter["limit"].as_u64().filter(|_| !quirks.ignores.contains(&"limit"));
        let limit = limit.map_or(quirks.cap, |limit| quirks.cap.min(limit as usize));
        match quirks.order {
            Order::Newest => found.truncate(limit),
            Order::Oldest => {
                found.reverse();
                found.truncate(limit);
            }
            Order::Shuffled => {
                found.truncate(limit);
                rng.shuffle(&mut found);
            }
            Order::ByAuthor => {
                let authors = filter["authors"].as_array();
                let place = |event: &&Stored| {
                    authors.and_then(|all| all.iter().position(|one| *one == event.pubkey))
                };
                found.sort_by_key(place);
                found.truncate(limit);
            }
            Order::ByKind => {
                found.sort_by_key(|event| event.kind);
                found.truncate(limit);
            }
            Order::ByAuthorAndKind => {
                found.sort_by_key(|event| (event.pubkey.clone(), event.kind));
                found.truncate(limit);
            }
            Order::Random => {
                rng.shuffle(&mut found);
                found.truncate(limit);
            }
        }
        found
    }
}

fn matches(filter: &Value, event: &Stored, quirks: &Quirks) -> bool {
    let field = |name: &str| Some(&filter[name]).filter(|_| !quirks.ignores.contains(&name));
    let list = |name: &str| field(name).and_then(Value::as_array);
    let second = |name: &str| field(name).and_then(Value::as_u64);
    let names = |name: &str, text: &str| {
        list(name).is_none_or(|all| all.iter().any(|one| one.as_str() == Some(text)))
    };
    let excluded = |is_exclusive: bool| u64::from(is_exclusive);
    (list("ids").is_none() || !quirks.finds_no_ids)
        && names("ids", &event.id)
        && names("authors", &event.pubkey)
        && list("kinds").is_none_or(|all| all.iter().any(|one| one.as_u64() == Some(event.kind)))
        && second("since")
            .is_none_or(|since| event.created_at >= since + excluded(quirks.since_is_exclusive))
        && second("until")
            .is_none_or(|until| event.created_at + excluded(quirks.until_is_exclusive) <= until)
}
