//! Whether all pages of a data file that is shorter than it says are there: follows every tree in
//! it, with ordinary reads and a stack in place of recursion.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::lmdb::meta_page::MetaPage;
use crate::lmdb::page::{Kind, NO_PAGE, PAGE_HEADER, Page, Record, Value, WRONG_DEPTH, Wrong};

/// 16 TiB of the usual pages, more than `dbParams.mapsize` allows by default.
const MOST_PAGES: u64 = 1 << 32;

/// Databases in the main one, and trees of a key's values in those.
const NESTING: u32 = 2;

/// Why the trees of a file cannot be followed to their ends.
pub(crate) enum Astray {
    /// They lead behind the end of the file.
    Behind,
    Damaged(Wrong),
    Read(io::Error),
}

/// The trees of a data file.
pub(crate) struct Reach<'a> {
    file: &'a File,
    page_size: u64,
    pages: u64,
    /// A bit for each page: a tree has each of them once.
    seen: Vec<u64>,
}

/// A page to come to.
#[derive(Clone, Copy)]
struct Next {
    page: u64,
    /// Pages from it down to a leaf, itself counted.
    depth: u16,
    /// How deep trees can lie in its tree.
    nesting: u32,
}

/// A page on the way down, and how many of its nodes have been followed.
struct Place {
    bytes: Box<[u8]>,
    at: usize,
    depth: u16,
    nesting: u32,
}

impl<'a> Reach<'a> {
    /// Whether every page that can be reached is in the file.
    pub(crate) fn of(
        file: &'a File,
        page_size: u64,
        pages: u64,
        meta: &MetaPage,
    ) -> Result<(), Astray> {
        if pages > MOST_PAGES {
            return Err(Astray::Damaged("it is larger than any database"));
        }
        let words = usize::try_from(pages.div_ceil(64)).unwrap_or(0);
        let mut reach = Self { file, page_size, pages, seen: vec![0; words] };
        [meta.free, meta.main].into_iter().try_for_each(|tree| reach.follow(tree))
    }

    fn follow(&mut self, tree: Record) -> Result<(), Astray> {
        // As many as `NESTING` trees are deep at most.
        let mut way = Vec::new();
        if let Some(root) = root(tree, NESTING)? {
            way.push(self.enter(root)?);
        }
        while let Some(place) = way.last_mut() {
            let page = Page::known(&place.bytes);
            if page.kind() == Kind::Integers || place.at >= page.len() {
                way.pop();
                continue;
            }
            let node = page.node(place.at).map_err(Astray::Damaged)?;
            place.at += 1;
            let (depth, nesting) = (place.depth, place.nesting);
            let next = if page.is_branch() {
                Some(Next { page: node.child(), depth: depth - 1, nesting })
            } else {
                match node.value().map_err(Astray::Damaged)? {
                    Value::Large { page, bytes } => {
                        let bytes = bytes.saturating_add(PAGE_HEADER as u64);
                        if page.saturating_add(bytes.div_ceil(self.page_size)) > self.pages {
                            return Err(Astray::Behind);
                        }
                        None
                    }
                    Value::Tree(tree) | Value::Database(tree) => {
                        let nesting = nesting.checked_sub(1);
                        let too_deep = Astray::Damaged("there is a tree where none can be");
                        root(tree, nesting.ok_or(too_deep)?)?
                    }
                    Value::Here(_) | Value::Several(_) => None,
                }
            };
            if let Some(next) = next {
                way.push(self.enter(next)?);
            }
        }
        Ok(())
    }

    fn enter(&mut self, Next { page: number, depth, nesting }: Next) -> Result<Place, Astray> {
        let bytes = self.read(number)?;
        let page = Page::of_nodes(&bytes, number).map_err(Astray::Damaged)?;
        if page.is_branch() != (depth > 1) {
            return Err(Astray::Damaged(WRONG_DEPTH));
        }
        Ok(Place { bytes, at: 0, depth, nesting })
    }

    fn read(&mut self, number: u64) -> Result<Box<[u8]>, Astray> {
        if number >= self.pages {
            return Err(Astray::Behind);
        }
        let bit = 1 << (number % 64);
        let word = usize::try_from(number / 64).ok().and_then(|word| self.seen.get_mut(word));
        let Some(word) = word.filter(|word| **word & bit == 0) else {
            return Err(Astray::Damaged("its trees lead to a page twice"));
        };
        *word |= bit;
        let mut page = vec![0; usize::try_from(self.page_size).unwrap_or(0)].into_boxed_slice();
        self.file.read_exact_at(&mut page, number * self.page_size).map_err(Astray::Read)?;
        Ok(page)
    }
}

/// Where a tree begins; `None` if there is nothing in it.
fn root(tree: Record, nesting: u32) -> Result<Option<Next>, Astray> {
    tree.check().map_err(Astray::Damaged)?;
    let Record { root, depth, .. } = tree;
    Ok((root != NO_PAGE).then_some(Next { page: root, depth, nesting }))
}
