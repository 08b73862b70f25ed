use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const PEER: &str = "wss://peer.example/";
const UNTIL: u64 = 30;
const LASTING: u64 = 24;

/// Seconds of one kind of one subject; subject 0 is everybody.
type Second = (usize, u64, u64);

/// What is owed, told second by second.
#[derive(Debug, Clone, Default)]
struct Model {
    promised: BTreeMap<(usize, u64), u64>,
    covered: BTreeSet<Second>,
    withheld: BTreeSet<Second>,
}

#[derive(Debug, Clone)]
struct Area {
    /// 0 is everybody.
    subjects: Vec<usize>,
    kinds: Option<Vec<u64>>,
    first: u64,
    last: u64,
}

impl Area {
    fn filter(&self) -> Filter {
        let authors: Vec<Pubkey> =
            self.subjects.iter().filter(|&&it| it > 0).map(|&it| author(it)).collect();
        Filter {
            authors: (!authors.is_empty()).then_some(authors),
            kinds: self.kinds.clone(),
            since: (self.first > 0).then_some(self.first),
            until: Some(self.last),
            ..Filter::default()
        }
    }

    /// As part of what is asked: stations' events only if no author is named.
    fn seconds(&self, kinds: &[u64]) -> BTreeSet<Second> {
        let authors: Vec<usize> = self.subjects.iter().copied().filter(|&it| it > 0).collect();
        let subjects = if authors.is_empty() { vec![0] } else { authors };
        all_of(&subjects, self.kinds.as_deref().unwrap_or(kinds), self.first, self.last)
    }

    /// As part of what did not come: an author's gap may be one of everybody.
    fn touched(&self) -> BTreeSet<Second> {
        let subjects = match self.filter().authors {
            None => vec![0, 1, 2, 3],
            Some(_) => [&[0], &self.subjects[..]].concat(),
        };
        all_of(&subjects, self.kinds.as_deref().unwrap_or(&KINDS), self.first, self.last)
    }
}

const KINDS: [u64; 4] = [0, 1, 4, 7];

fn all_of(subjects: &[usize], kinds: &[u64], first: u64, last: u64) -> BTreeSet<Second> {
    let pairs = subjects.iter().flat_map(|&it| kinds.iter().map(move |&kind| (it, kind)));
    pairs.flat_map(|(it, kind)| (first..=last).map(move |second| (it, kind, second))).collect()
}

fn author(number: usize) -> Pubkey {
    Pubkey::from_bytes([u8::try_from(number).unwrap(); 32])
}

impl Model {
    fn owed(&self, question: &[(usize, u64)]) -> BTreeSet<Second> {
        let promised = question.iter().filter_map(|it| Some((it, *self.promised.get(it)?)));
        promised
            .flat_map(|(&(subject, kind), from)| {
                (from..=UNTIL).map(move |second| (subject, kind, second))
            })
            .filter(|it| !self.covered.contains(it) && !self.withheld.contains(it))
            .collect()
    }

    fn settle(&mut self, answer: &Settled, question: &[(usize, u64)]) -> bool {
        let known: Vec<u64> = KINDS.into();
        let of = |areas: &[Area]| -> BTreeSet<Second> {
            areas.iter().flat_map(|area| area.seconds(&known)).collect()
        };
        let gaps: BTreeSet<Second> = answer.gaps.iter().flat_map(Area::touched).collect();
        let holes = answer
            .holes
            .iter()
            .flat_map(|&(subject, kind, second)| [(subject, kind, second), (0, kind, second)]);
        let lost: BTreeSet<Second> = gaps.iter().copied().chain(holes).collect();
        let withheld = of(&answer.withheld);
        let mut told = self.clone();
        told.covered.extend(of(&answer.asked));
        told.covered.extend(withheld.iter().copied());
        told.covered.retain(|it| !gaps.contains(it) && it.2 <= UNTIL);
        self.covered.extend(of(&answer.asked));
        let touched: BTreeSet<Second> = answer.withheld.iter().flat_map(Area::touched).collect();
        self.covered.retain(|it| !lost.contains(it) && !touched.contains(it) && it.2 <= LASTING);
        self.withheld.extend(withheld.into_iter().filter(|it| it.2 <= LASTING));
        self.withheld.retain(|it| !lost.contains(it));
        told.withheld.retain(|it| !gaps.contains(it));
        told.owed(question).is_empty()
    }
}

#[derive(Debug, Clone)]
struct Settled {
    asked: Vec<Area>,
    gaps: Vec<Area>,
    withheld: Vec<Area>,
    holes: Vec<Second>,
}

#[derive(Debug, Clone)]
enum Step {
    Promise(Area),
    Settle(Settled),
}

fn area() -> impl Strategy<Value = Area> {
    let kinds = prop::sample::subsequence(KINDS.to_vec(), 1..=KINDS.len());
    let subjects = prop::sample::subsequence(vec![0, 1, 2, 3], 1..=4);
    (subjects, kinds, 0u64..32, 0u64..32).prop_map(|(subjects, kinds, first, length)| Area {
        subjects,
        kinds: Some(kinds),
        first,
        last: first + length,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let areas = |most: usize| prop::collection::vec(area(), 0..most);
    let hole = (1usize..4, prop::sample::select(KINDS.to_vec()), 0u64..32);
    let holes = prop::collection::vec(hole, 0..3);
    prop_oneof![
        area().prop_map(Step::Promise),
        (areas(4), areas(3), areas(3), holes).prop_map(|(asked, gaps, withheld, holes)| {
            Step::Settle(Settled { asked, gaps, withheld, holes })
        }),
    ]
}

fn expanded(filters: &[Filter]) -> BTreeSet<Second> {
    let subjects = |filter: &Filter| match &filter.authors {
        None => vec![0],
        Some(authors) => authors.iter().map(|it| usize::from(it.as_bytes()[0])).collect(),
    };
    let seconds = |filter: &Filter| {
        let kinds = filter.kinds.as_deref().unwrap();
        all_of(&subjects(filter), kinds, filter.since.unwrap_or(0), filter.until.unwrap())
    };
    filters.iter().flat_map(seconds).collect()
}

proptest! {
    #[test]
    fn what_is_owed_is_what_a_model_of_single_seconds_says(
        steps in prop::collection::vec(step(), 1..12),
        authors in prop::sample::subsequence(vec![1usize, 2, 3], 0..=3),
        kinds in prop::sample::subsequence(KINDS.to_vec(), 0..=4),
    ) {
        let (mut coverage, mut model) = (Coverage::default(), Model::default());
        let names: Vec<Pubkey> = authors.iter().map(|&it| author(it)).collect();
        let question = Question { authors: &names, kinds: &kinds, station_kinds: &kinds };
        let pairs = [&[0], &authors[..]].concat();
        let pairs: Vec<(usize, u64)> =
            pairs.iter().flat_map(|&it| kinds.iter().map(move |&kind| (it, kind))).collect();
        for step in steps {
            match step {
                Step::Promise(area) => {
                    let filter = area.filter();
                    let kinds = area.kinds.clone().unwrap();
                    coverage.promise(PEER, filter.authors.as_deref(), &kinds, area.first);
                    for (subject, kind, _) in area.seconds(&[]) {
                        let from = model.promised.entry((subject, kind)).or_insert(area.first);
                        *from = (*from).min(area.first);
                    }
                }
                Step::Settle(answer) => {
                    let filters = |areas: &[Area]| -> Vec<Filter> {
                        areas.iter().map(Area::filter).collect()
                    };
                    let [asked, gaps, withheld] =
                        [&answer.asked, &answer.gaps, &answer.withheld].map(|it| filters(it));
                    let holes: Vec<Hole> = answer.holes.iter().map(|&(subject, kind, second)| {
                        Hole { author: author(subject), kind, second }
                    }).collect();
                    let told = Answer {
                        asked: &asked,
                        gaps: gaps.iter().collect(),
                        withheld: withheld.iter().collect(),
                        holes: Some(&holes),
                        until: UNTIL,
                        lasting: LASTING,
                    };
                    if coverage.peers.is_empty() {
                        coverage.ask_as(PEER, None, 0);
                    }
                    let is_complete = coverage.settle(PEER, &told, question);
                    prop_assert_eq!(is_complete, model.settle(&answer, &pairs));
                }
            }
            let owed = coverage.owed(PEER, question, UNTIL);
            prop_assert_eq!(expanded(&owed), model.owed(&pairs));
            // Nobody is asked for twice.
            let seconds: usize = owed.iter().map(|it| expanded(std::slice::from_ref(it)).len()).sum();
            prop_assert_eq!(seconds, expanded(&owed).len());
        }
    }
}
