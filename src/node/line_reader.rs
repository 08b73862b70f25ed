//! The lines of a file that others write, in constant memory whatever their lengths.
//!
//! It splits; it gives no line a meaning.

use std::io::{self, BufRead, Read};

/// Of a line, this much is looked at; a pubkey takes 64 bytes.
pub(super) const MAX_LINE_BYTES: u16 = 1024;

/// One line without its line feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// The first is 1.
    pub number: u64,
    /// Its first [`MAX_LINE_BYTES`] at most.
    pub bytes: &'a [u8],
    /// Whether more than that was left out.
    pub cut: bool,
}

/// Calls `visit` for every line.
pub(super) fn for_each_line(
    mut reader: impl BufRead,
    mut visit: impl FnMut(Line<'_>),
) -> io::Result<()> {
    let mut line = Vec::with_capacity(MAX_LINE_BYTES.into());
    for number in 1.. {
        line.clear();
        reader.by_ref().take(MAX_LINE_BYTES.into()).read_until(b'\n', &mut line)?;
        let (bytes, cut) = match line.split_last() {
            None => return Ok(()),
            Some((b'\n', bytes)) => (bytes, false),
            Some(_) => (line.as_slice(), reader.skip_until(b'\n')? > 0),
        };
        visit(Line { number, bytes, cut });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(text: &[u8]) -> Vec<(u64, Vec<u8>, bool)> {
        let mut lines = Vec::new();
        for_each_line(text, |line| lines.push((line.number, line.bytes.to_vec(), line.cut)))
            .unwrap();
        lines
    }

    #[test]
    fn a_line_of_100_megabytes_is_cut_and_the_next_one_is_whole() {
        let huge = io::repeat(b'a').take(100 << 20).chain(&b"\nnext"[..]);
        let mut lines = Vec::new();
        for_each_line(io::BufReader::new(huge), |line| {
            lines.push((line.number, line.bytes.len(), line.cut));
        })
        .unwrap();
        assert_eq!(lines, [(1, 1024, true), (2, 4, false)]);
    }

    #[test]
    fn a_line_that_just_fits_is_not_cut() {
        let fits = vec![b'a'; 1024];
        assert_eq!(lines(&fits), [(1, fits.clone(), false)]);
        let longer = vec![b'a'; 1025];
        assert_eq!(lines(&longer), [(1, fits, true)]);
    }

    proptest! {
        #[test]
        fn lines_are_those_between_line_feeds(
            text in prop::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..4000),
        ) {
            let mut expected: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
            if expected.last().is_some_and(|line| line.is_empty()) {
                expected.pop();
            }
            let found = lines(&text);
            prop_assert_eq!(found.len(), expected.len());
            for ((_, bytes, _), line) in found.iter().zip(expected) {
                prop_assert_eq!(&bytes[..], &line[..line.len().min(1024)]);
            }
        }
    }
}
