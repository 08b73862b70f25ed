//! README and docs: they are short, and their links lead somewhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Every Markdown file of the project.
fn documents() -> Vec<PathBuf> {
    let directories = ["", "docs", "docs/fr", "strfry-db"].map(|it| Path::new(ROOT).join(it));
    let files = directories.iter().filter_map(|directory| fs::read_dir(directory).ok()).flatten();
    let files = files.map(|entry| entry.unwrap().path());
    files.filter(|file| file.extension().is_some_and(|extension| extension == "md")).collect()
}

/// What is between `](` and `)`, outside of code.
fn links(text: &str) -> Vec<&str> {
    let prose = text.split("```").step_by(2);
    let parts = prose.flat_map(|prose| prose.split("](").skip(1));
    parts.filter_map(|part| part.split(')').next()).collect()
}

/// The anchors of a document's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let prose = text.split("```").step_by(2);
    let headings = prose.flat_map(str::lines).filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let words = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = words.chars().filter(|&it| it.is_alphanumeric() || " -_".contains(it));
        kept.map(|it| if it == ' ' { '-' } else { it }).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_there_are() {
    let mut dead = Vec::new();
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for link in links(&text).into_iter().filter(|link| !link.starts_with("http")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => document.clone(),
                file => document.parent().unwrap().join(file),
            };
            let is_there = target.exists();
            let is_heading = || anchors(&fs::read_to_string(&target).unwrap()).contains(anchor);
            if !is_there || !(anchor.is_empty() || is_heading()) {
                dead.push(format!("{}: {link}", document.strip_prefix(ROOT).unwrap().display()));
            }
        }
    }
    assert_eq!(dead, [""; 0]);
}

#[test]
fn the_readme_is_short_and_every_page_of_the_docs_can_be_reached_from_it() {
    let readme = fs::read_to_string(Path::new(ROOT).join("README.md")).unwrap();
    assert!(readme.len() <= 8_000, "{} bytes", readme.len());
    let mut reached = BTreeSet::new();
    let mut pages = vec![Path::new(ROOT).join("README.md")];
    while let Some(page) = pages.pop() {
        let page = page.canonicalize().unwrap();
        if reached.insert(page.clone()) {
            let text = fs::read_to_string(&page).unwrap();
            let files = links(&text).into_iter().filter(|link| !link.starts_with("http"));
            let files = files.map(|link| link.split('#').next().unwrap_or_default());
            let files = files.filter(|file| file.ends_with(".md"));
            pages.extend(files.map(|file| page.parent().unwrap().join(file)));
        }
    }
    let all: BTreeSet<PathBuf> =
        documents().iter().map(|file| file.canonicalize().unwrap()).collect();
    assert_eq!(all.difference(&reached).collect::<Vec<_>>(), [] as [&PathBuf; 0]);
}
