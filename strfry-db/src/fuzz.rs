//! The page reader on damaged files: small changes to a whole database, and after each some reading,
//! on the map and on copies. Whatever is damaged, both ways read the same, in order, and end.
//!
//! Owns the property. Two drivers choose what is changed and read: random numbers in the test below,
//! which any toolchain runs, and libFuzzer in `fuzz/`, which looks for new paths through the code.
//!
//! `FUZZ_EXECUTIONS=10000000 cargo test --release -p strfry-db fuzz` runs more of the first, and
//! `FUZZ_SEED=7` others.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use crate::error::ReadError;
use crate::format::tables::{META, Table, Tables};
use crate::lmdb::map::GrowingMap;
use crate::lmdb::meta_page::MetaPages;
use crate::txn::copies::Copies;
use crate::txn::cursor::Entry;
use crate::txn::page_reader::{CheckedPages, Pages};
use crate::txn::page_txn::PageTxn;

const PAGE: usize = 4_096;

/// A data file that is damaged, read, and mended again.
#[derive(Debug)]
pub struct DamagedFile {
    whole: Vec<u8>,
    file: File,
    meta_pages: MetaPages,
    map: GrowingMap,
    tables: Vec<Table>,
    /// Pages that are not as they were.
    changed: Vec<usize>,
}

impl DamagedFile {
    /// A whole data file, of pages of 4 KiB, which is written to and may be deleted meanwhile.
    ///
    /// # Panics
    /// It cannot be opened, or is not whole.
    pub fn new(path: &Path) -> Self {
        let file = File::options().read(true).write(true).open(path).unwrap();
        let meta_pages = MetaPages::new((File::open(path).unwrap(), PAGE as u64));
        let meta = meta_pages.begin().unwrap();
        let txn = PageTxn::copying(&meta_pages, meta, Copies::new(&Arc::default(), 8).into());
        let mut tables = vec![&META];
        Tables::find(|table| {
            let is_there = txn.has(table)?;
            tables.extend(is_there.then_some(table));
            Ok::<_, ReadError>(is_there)
        })
        .unwrap();
        let (whole, map) = (std::fs::read(path).unwrap(), GrowingMap::default());
        Self { whole, file, meta_pages, map, tables, changed: Vec::new() }
    }

    /// Changes a page or two, reads a part of the file both ways, and mends it. `choose` gives a
    /// number below the one it is asked with.
    ///
    /// # Panics
    /// The two ways disagree, or one of them reads entries out of order.
    pub fn damage_and_read(&mut self, choose: &mut impl FnMut(usize) -> usize) {
        self.damage(choose);
        self.read(choose);
        self.mend();
    }

    fn damage(&mut self, choose: &mut impl FnMut(usize) -> usize) {
        let pages = self.whole.len() / PAGE;
        for _ in 0..1 + choose(2) {
            let number = choose(pages);
            let mut page = self.whole[number * PAGE..][..PAGE].to_vec();
            let word = |page: &[u8], at: usize| u16::from_ne_bytes([page[at], page[at + 1]]);
            let nodes = usize::from(word(&page, 12).saturating_sub(16) / 2).clamp(1, 2_000);
            let place = 16 + 2 * choose(nodes);
            let node = usize::from(word(&page, place)).min(PAGE - 16);
            let value = match choose(8) {
                0 => 0x7fff,
                1 => 0xffff,
                number @ 2..6 => number - 2,
                _ => choose(1 << 16),
            };
            let mut put = |at: usize, value: usize| {
                page[at..at + 2].copy_from_slice(&(value as u16).to_ne_bytes());
            };
            match choose(8) {
                0 => put(2 * choose(8), value),
                1 => put(place, value),
                2 => put(node + 2 * choose(4), value),
                // A child, or the size of a value.
                3 => put(node, choose(pages)),
                4 => page[choose(PAGE)] ^= 1 << choose(8),
                5 => page[choose(PAGE)] = value as u8,
                6 => {
                    page = self.whole[choose(pages) * PAGE..][..PAGE].to_vec();
                    if choose(2) == 0 {
                        page[..8].copy_from_slice(&(number as u64).to_ne_bytes());
                    }
                }
                _ => page[choose(PAGE)..].fill(value as u8),
            }
            self.file.write_all_at(&page, (number * PAGE) as u64).unwrap();
            self.changed.push(number);
        }
    }

    fn mend(&mut self) {
        for number in self.changed.drain(..) {
            let page = &self.whole[number * PAGE..][..PAGE];
            self.file.write_all_at(page, (number * PAGE) as u64).unwrap();
        }
    }

    /// What some reading gives, on the map and on copies.
    fn read(&self, choose: &mut impl FnMut(usize) -> usize) {
        let Ok(meta) = self.meta_pages.begin() else { return };
        let end = self.whole.len();
        let map = self.map.covering(&self.file, end as u64).unwrap();
        let checked = CheckedPages::default();
        let pages = Pages::Mapped { map, end, checked: &checked };
        let mapped = PageTxn::new(&self.meta_pages, meta.clone(), pages);
        let copies = Copies::new(&Arc::default(), 8).into();
        let copied = PageTxn::copying(&self.meta_pages, meta, copies);
        let table = self.tables[choose(self.tables.len())];
        let from = choose(self.whole.len() - 48);
        let length = [8, 16, 40, 48][choose(4)];
        let key = &self.whole[from..from + length];
        let others = self.whole[..from].chunks_exact(length).rev().step_by(7).take(20);
        let others = others.chain([key]).collect::<Vec<_>>();
        let (kind, is_from_key, step) = (choose(6), choose(2) == 0, 1 + choose(64));
        if choose(2) == 0 {
            self.meta_pages.read_ahead.turn_on();
        }
        let [on_map, on_copies] = [&mapped, &copied].map(|txn| {
            // A value over 4 MiB is refused for another reason by the copies.
            let told = |error: ReadError| assert!(matches!(error, ReadError::Damaged { .. }));
            txn.read_ahead(table, &others);
            match kind {
                0 => txn
                    .free_bytes()
                    .map(|bytes| vec![(vec![], bytes.to_ne_bytes().to_vec())])
                    .map_err(told),
                1 => txn
                    .get(table, key)
                    .map(|value| vec![(vec![], value.unwrap_or_default().to_vec())])
                    .map_err(told),
                2 => entries(table, txn.forward(table, None), true).map_err(told),
                3 => entries(table, txn.backward(table, is_from_key.then_some(key)), false)
                    .map_err(told),
                4 => entries(table, txn.forward(table, Some(key)), true).map_err(told),
                _ => sought(txn, table, key, step).map_err(told),
            }
        });
        assert!(on_map == on_copies, "{table:?} {kind}");
    }
}

type Owned = Vec<(Vec<u8>, Vec<u8>)>;

/// All entries, each behind the one before.
fn entries<'s>(
    table: Table,
    entries: Result<impl Iterator<Item = Result<Entry<'s>, ReadError>>, ReadError>,
    forward: bool,
) -> Result<Owned, ReadError> {
    let mut last: Option<Entry<'_>> = None;
    let mut all = Owned::new();
    for entry in entries? {
        let (key, value) = entry?;
        if let Some((last_key, last_value)) = last {
            let values = || crate::format::comparators::integers(last_value, value);
            let order = table.comparator.compare(last_key, key);
            let order = if table.has_duplicates() { order.then_with(values) } else { order };
            assert!(if forward { order.is_lt() } else { order.is_gt() }, "{table:?} out of order");
        }
        last = Some((key, value));
        all.push((key.to_vec(), value.get(..8).unwrap_or(value).to_vec()));
    }
    Ok(all)
}

/// Some keys of the table, sought in order and in reverse, forward and backward: each from where the
/// one before has been found, which must come to the same as from the root.
fn sought(txn: &PageTxn<'_>, table: Table, from: &[u8], step: usize) -> Result<Owned, ReadError> {
    let entries = txn.forward(table, Some(from))?.step_by(step).take(8);
    let mut keys = entries.map(|entry| Ok(entry?.0)).collect::<Result<Vec<_>, ReadError>>()?;
    keys.extend(keys.clone().iter().rev());
    keys.insert(keys.len() / 2, from);
    let mut all = Owned::new();
    for forward in [true, false] {
        let mut seeker = txn.seeker(table, forward)?;
        for key in &keys {
            seeker.seek(key)?;
            let found = seeker.next().transpose()?;
            let from_root = match forward {
                true => txn.forward(table, Some(key))?.next().transpose()?,
                false => txn.backward(table, Some(key))?.next().transpose()?,
            };
            assert!(found == from_root, "{table:?} {key:?}");
            all.extend(found.map(|(key, value)| (key.to_vec(), value.to_vec())));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::golden_database;

    const EXECUTIONS: u64 = 20_000;

    /// SplitMix64.
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = self.0;
            mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ mixed >> 31
        }

        fn below(&mut self, end: usize) -> usize {
            usize::try_from(self.next() % end as u64).unwrap()
        }
    }

    #[test]
    fn whatever_is_damaged_both_ways_read_the_same_in_order_and_end() {
        let number = |name| std::env::var(name).ok().map(|number| number.parse().unwrap());
        let executions = number("FUZZ_EXECUTIONS").unwrap_or(EXECUTIONS);
        let seed = number("FUZZ_SEED").unwrap_or(1);
        let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
        std::thread::scope(|scope| {
            for thread in 0..threads {
                scope.spawn(move || {
                    let mut random = Random(seed << 32 | thread);
                    let mut choose = |end| random.below(end);
                    for name in ["strfry-1.1.1", "strfry-1.1.1-dict"] {
                        let directory = golden_database(name);
                        let mut file = DamagedFile::new(&directory.path().join("data.mdb"));
                        for _ in 0..executions.div_ceil(2 * threads) {
                            file.damage_and_read(&mut choose);
                        }
                    }
                });
            }
        });
    }
}
