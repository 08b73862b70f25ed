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
        let holes = answer.holes.iter().flat_map(|&(subject, kind, at)| {
            let around = at.saturating_sub(1)..=at + 1;
            around.flat_map(move |second| [(subject, kind, second), (0, kind, second)])
        });
        let widened = |area: &Area| Area {
            first: area.first.saturating_sub(1),
            last: area.last + 1,
            ..area.clone()
        };
        let widened = answer.gaps.iter().flat_map(|gap| widened(gap).touched());
        let lost: BTreeSet<Second> = widened.chain(holes).collect();
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
                        asked: asked.iter().collect(),
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

fn all_time<'a>(authors: &'a [Pubkey], kinds: &'a [u64]) -> Question<'a> {
    Question { authors, kinds, station_kinds: &[] }
}

#[test]
fn what_is_withheld_is_not_missing_and_asked_for_again_of_another_key_alone() {
    let (authors, keys) = ([author(1)], [author(7), author(8)]);
    let mut coverage = Coverage::default();
    let question = all_time(&authors, &[1, 4]);
    let ask_as = |coverage: &mut Coverage, key| {
        coverage.ask_as(PEER, key, 0);
        coverage.promise(PEER, Some(&authors), &[1, 4], 0);
        coverage.owed(PEER, question, UNTIL)
    };
    let settle = |coverage: &mut Coverage, asked: &[Filter], withheld: Option<&Filter>| {
        let answer = Answer {
            asked: asked.iter().collect(),
            gaps: Vec::new(),
            withheld: withheld.into_iter().collect(),
            holes: Some(&[]),
            until: UNTIL,
            lasting: LASTING,
        };
        coverage.settle(PEER, &answer, question)
    };
    let owed = ask_as(&mut coverage, None);
    let dms = Filter { kinds: Some(vec![4]), ..owed[0].clone() };
    assert!(settle(&mut coverage, &owed, Some(&dms)));
    let late = |kinds: &[u64]| Filter {
        authors: Some(authors.into()),
        kinds: Some(kinds.into()),
        since: Some(LASTING + 1),
        until: Some(UNTIL),
        ..Filter::default()
    };
    assert_eq!(ask_as(&mut coverage, None), [late(&[1, 4])]);
    let whole = Filter { since: None, ..late(&[4]) };
    let owed = ask_as(&mut coverage, Some(keys[0]));
    assert_eq!(owed, [late(&[1]), whole.clone()]);
    assert!(settle(&mut coverage, &owed, None));
    assert_eq!(ask_as(&mut coverage, Some(keys[1])), [late(&[1, 4])]);
    // A gap in what is withheld elsewhere is a gap.
    let owed = ask_as(&mut coverage, None);
    let answer = Answer {
        asked: owed.iter().collect(),
        gaps: owed.iter().collect(),
        withheld: owed.iter().collect(),
        holes: Some(&[]),
        until: UNTIL,
        lasting: LASTING,
    };
    assert!(!coverage.settle(PEER, &answer, question));
}

#[test]
fn what_does_not_fit_between_withheld_parts_is_asked_for_again_and_is_here_all_the_same() {
    let (authors, until) = ([author(1)], 10_000);
    let question = all_time(&authors, &[4]);
    let part = |since: Option<u64>, until| Filter {
        authors: Some(authors.into()),
        kinds: Some(vec![4]),
        since,
        until: Some(until),
        ..Filter::default()
    };
    let parts: Vec<Filter> =
        (0..64).map(|number| part(Some(number * 100 + 50), number * 100 + 99)).collect();
    let mut coverage = Coverage::default();
    coverage.promise(PEER, Some(&authors), &[4], 0);
    for withheld in [&parts[..], &[], &[]] {
        let asked = coverage.owed(PEER, question, until);
        let answer = Answer {
            asked: asked.iter().collect(),
            gaps: Vec::new(),
            withheld: withheld.iter().collect(),
            holes: Some(&[]),
            until,
            lasting: until,
        };
        assert!(coverage.settle(PEER, &answer, question));
        assert_eq!(coverage.owed(PEER, question, until), [part(None, 49)]);
    }
}

#[test]
fn a_full_history_is_owed_anew_once_it_has_been_given_and_carried_on_until_then() {
    let authors = [author(1)];
    let mut coverage = Coverage::default();
    let question = all_time(&authors, &[1]);
    let filter = |first: u64, last| Filter {
        authors: Some(authors.into()),
        kinds: Some(vec![1]),
        since: (first > 0).then_some(first),
        until: Some(last),
        ..Filter::default()
    };
    let settle = |coverage: &mut Coverage, gaps: &[Filter]| {
        let asked = coverage.owed(PEER, question, UNTIL);
        let answer = Answer {
            asked: asked.iter().collect(),
            gaps: gaps.iter().collect(),
            withheld: Vec::new(),
            holes: Some(&[]),
            until: UNTIL,
            lasting: LASTING,
        };
        coverage.settle(PEER, &answer, question)
    };
    assert!(coverage.promise_anew(PEER, &authors, &[1]));
    assert!(!settle(&mut coverage, &[filter(5, 9)]));
    assert!(!coverage.promise_anew(PEER, &authors, &[1]));
    let rest = [filter(4, 10), filter(LASTING + 1, UNTIL)];
    assert_eq!(coverage.owed(PEER, question, UNTIL), rest);
    assert!(settle(&mut coverage, &[]));
    assert!(coverage.promise_anew(PEER, &authors, &[1]));
    assert_eq!(coverage.owed(PEER, question, UNTIL), [filter(0, UNTIL)]);
}

#[test]
fn when_it_is_not_known_what_came_nothing_is_covered() {
    let authors = [author(1)];
    let question = all_time(&authors, &[1]);
    let by_id = Filter { ids: Some(Vec::new()), ..Filter::default() };
    let elsewhere = Filter { authors: Some(vec![author(2)]), ..Filter::default() };
    let many = vec![&elsewhere; GAPS_TOLD_APART + 1];
    for (gaps, holes) in [(vec![&by_id], Some(&[][..])), (Vec::new(), None), (many, Some(&[]))] {
        let mut coverage = Coverage::default();
        coverage.promise(PEER, Some(&authors), &[1], 3);
        let asked = coverage.owed(PEER, question, UNTIL);
        let (until, lasting) = (UNTIL, LASTING);
        let answer = Answer {
            asked: asked.iter().collect(),
            gaps,
            withheld: Vec::new(),
            holes,
            until,
            lasting,
        };
        assert!(!coverage.settle(PEER, &answer, question));
        assert_eq!(coverage.owed(PEER, question, UNTIL), asked);
    }
}

#[test]
fn what_takes_too_much_room_is_forgotten_as_covered_and_stays_promised() {
    let authors: Vec<Pubkey> = (1..=200).map(author).collect();
    let question = all_time(&authors, &[1]);
    let mut coverage = Coverage::default();
    coverage.promise(PEER, Some(&authors), &[1], 100);
    for (number, one) in authors.iter().enumerate() {
        coverage.promise(PEER, Some(&[*one]), &[1], number as u64);
        let pieces: Vec<Filter> = (0..60)
            .map(|piece| Filter {
                authors: Some(vec![*one]),
                kinds: Some(vec![1]),
                since: Some(1_000 * piece + number as u64),
                until: Some(1_000 * piece + 500),
                ..Filter::default()
            })
            .collect();
        let answer = Answer {
            asked: pieces.iter().collect(),
            gaps: Vec::new(),
            withheld: Vec::new(),
            holes: Some(&[]),
            until: 100_000,
            lasting: 100_000,
        };
        coverage.settle(PEER, &answer, question);
    }
    let before = coverage.owed(PEER, question, 100_000).len();
    assert!(before > 10_000, "{before}");
    coverage.bound();
    let owed = expanded_areas(&coverage.owed(PEER, question, 100_000));
    let expected = authors.iter().zip(0u64..).map(|(author, number)| {
        let since = Some(number.min(100)).filter(|&since| since > 0);
        (Some(*author), 1, since, Some(100_000))
    });
    assert_eq!(owed, expected.collect());
    assert!(coverage.peers[PEER].known.forms.len() > 100);
    for number in 0..1_100 {
        coverage.ask_as(&format!("wss://{number}.example/"), None, number + 1);
    }
    coverage.bound();
    assert_eq!(coverage.peers.len(), MOST_PEERS);
    assert!(
        !coverage.peers.contains_key(PEER) && coverage.peers.contains_key("wss://1099.example/")
    );
    while coverage.shrink() {}
    assert_eq!(coverage.peers.len(), 0);
}

#[test]
fn coverage_that_no_run_can_have_reached_yet_is_not_believed() {
    let authors = [author(1)];
    let question = all_time(&authors, &[1]);
    let mut coverage = Coverage::default();
    coverage.promise(PEER, Some(&authors), &[1], 0);
    let asked = coverage.owed(PEER, question, UNTIL);
    let answer = Answer {
        asked: asked.iter().collect(),
        gaps: Vec::new(),
        withheld: Vec::new(),
        holes: Some(&[]),
        until: UNTIL,
        lasting: LASTING,
    };
    assert!(coverage.settle(PEER, &answer, question));
    coverage.distrust_after(LASTING);
    assert_ne!(coverage.owed(PEER, question, UNTIL), asked);
    coverage.distrust_after(LASTING - 1);
    assert_eq!(coverage.owed(PEER, question, UNTIL), asked);
}

/// A state that many peers and authors share, with some that are told apart.
fn large(authors: &[Pubkey], peers: usize) -> Coverage {
    let kinds: Vec<u64> = (0..60).collect();
    let mut coverage = Coverage::default();
    for number in 0..peers {
        let peer = format!("wss://{number}.example/");
        let question = Question { authors, kinds: &kinds, station_kinds: &kinds[..3] };
        coverage.ask_as(&peer, None, 1);
        coverage.promise(&peer, Some(authors), &kinds, 1_000);
        coverage.promise(&peer, None, &kinds[..3], 1_000);
        let some: Vec<Pubkey> = authors.iter().skip(number % 7).step_by(7).copied().collect();
        coverage.promise(&peer, Some(&some), &kinds, 0);
        let asked = coverage.owed(&peer, question, 100_000);
        let holes: Vec<Hole> = authors
            .iter()
            .step_by(50)
            .zip(2_000..)
            .map(|(author, second)| Hole { author: *author, kind: 1, second })
            .collect();
        let answer = Answer {
            asked: asked.iter().collect(),
            gaps: Vec::new(),
            withheld: asked[..1].iter().collect(),
            holes: Some(&holes),
            until: 100_000,
            lasting: 90_000,
        };
        coverage.settle(&peer, &answer, question);
    }
    coverage
}

#[test]
fn what_is_written_is_read_again() {
    let directory = crate::golden::golden_database("strfry-1.1.1");
    let db = crate::strfry_db::StrfryDb::open(directory.path()).unwrap();
    let path = directory.path().join("state.json");
    let authors: Vec<Pubkey> = (1..=200).map(author).collect();
    let kinds: Vec<u64> = (0..60).collect();
    let question = Question { authors: &authors, kinds: &kinds, station_kinds: &kinds };
    let mut file = StateFile { coverage: large(&authors, 5), ..StateFile::default() };
    file.write(&path, &db).unwrap();
    let first = std::fs::read_to_string(&path).unwrap();
    let mut read = StateFile::read(&path, &db).unwrap();
    for number in 0..5 {
        let peer = format!("wss://{number}.example/");
        let owed = |file: &StateFile| {
            let owed = file.coverage.owed(&peer, question, 100_000);
            expanded_areas(&owed)
        };
        assert_eq!(owed(&read), owed(&file));
    }
    read.write(&path, &db).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), first);
    assert_eq!(
        std::fs::read_dir(directory.path())
            .unwrap()
            .filter(|it| {
                it.as_ref().unwrap().file_name().to_string_lossy().starts_with(".strfry")
            })
            .count(),
        0
    );
}

/// Author, kind, first and last second.
type Part = (Option<Pubkey>, u64, Option<u64>, Option<u64>);

fn expanded_areas(filters: &[Filter]) -> BTreeSet<Part> {
    let mut areas = BTreeSet::new();
    for filter in filters {
        let authors: Vec<Option<Pubkey>> = match &filter.authors {
            None => vec![None],
            Some(authors) => authors.iter().copied().map(Some).collect(),
        };
        for author in authors {
            for &kind in filter.kinds.iter().flatten() {
                areas.insert((author, kind, filter.since, filter.until));
            }
        }
    }
    areas
}
