//! Events as JSON lines, such as an export, in bounded memory whatever the input.

use std::io::{self, BufRead, Read};

use super::judge::{Defect, judge};
use super::{Checked, Offender};
use crate::nostr::{Event, signature};
use crate::strfry_db::limits::BATCH_BYTES;

/// A longer line is no event. strfry itself refuses more than its `events.maxEventSize` (65,536
/// unless configured); fried, an event takes at most three times its bytes.
pub const LINE_BYTES: usize = 16 << 20;

/// Lines that are checked together: on one core about half a second, after which the terminal is
/// told how far it is.
const LINES_PER_BATCH: usize = 10_000;

struct Line {
    number: u64,
    /// Without its line feed; `None` if it is too long.
    bytes: Option<Vec<u8>>,
}

/// Checks every line that is not blank and hands on what came of each batch, until that fails.
///
/// # Errors
/// The input cannot be read, or what `tell` returns.
pub fn verify_lines<E: From<io::Error>>(
    mut input: impl BufRead,
    mut tell: impl FnMut(Checked) -> Result<(), E>,
) -> Result<(), E> {
    let mut number = 0;
    loop {
        let mut batch = Vec::new();
        let mut bytes = 0;
        let mut ended = false;
        while batch.len() < LINES_PER_BATCH && bytes < BATCH_BYTES {
            number += 1;
            let Some(line) = next_line(&mut input, number)? else {
                ended = true;
                break;
            };
            let length = line.bytes.as_ref().map_or(0, Vec::len);
            let is_blank = line.bytes.as_ref().is_some_and(|text| text.trim_ascii().is_empty());
            bytes += length;
            if !is_blank {
                batch.push(line);
            }
        }
        let verdicts = signature::check_all(&batch, offender);
        let offenders = verdicts.into_iter().flatten().collect();
        tell(Checked { events: batch.len() as u64, offenders })?;
        if ended {
            return Ok(());
        }
    }
}

fn next_line(input: &mut impl BufRead, number: u64) -> io::Result<Option<Line>> {
    let mut bytes = Vec::new();
    // One byte more than fits, and the line feed.
    input.by_ref().take(LINE_BYTES as u64 + 1).read_until(b'\n', &mut bytes)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    } else if bytes.len() > LINE_BYTES {
        input.skip_until(b'\n')?;
        return Ok(Some(Line { number, bytes: None }));
    }
    Ok(Some(Line { number, bytes: Some(bytes) }))
}

fn offender(line: &Line) -> Option<Offender> {
    let is_wrong =
        |id, reason| Some(Offender { id, lev_id: None, line: Some(line.number), reason });
    let Some(bytes) = &line.bytes else { return is_wrong(None, Defect::TooLong(LINE_BYTES)) };
    let Ok(text) = std::str::from_utf8(bytes) else { return is_wrong(None, Defect::NotUtf8) };
    match Event::parse(text) {
        Err(malformed) => is_wrong(None, malformed.into()),
        Ok(event) => judge(&event).err().and_then(|reason| is_wrong(Some(event.id), reason)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verified(input: &[u8]) -> Checked {
        let mut all = Checked::default();
        verify_lines(input, |checked| {
            all.events += checked.events;
            all.offenders.extend(checked.offenders);
            io::Result::Ok(())
        })
        .unwrap();
        all
    }

    fn offender(line: u64, reason: Defect) -> Offender {
        Offender { id: None, lev_id: None, line: Some(line), reason }
    }

    #[test]
    fn what_is_no_event_is_named_by_its_line() {
        let mut input = b"\n{}\r\n \n\xff\n".to_vec();
        input.extend(vec![b'x'; LINE_BYTES + 1]);
        input.extend(b"more\n7");
        assert_eq!(
            verified(&input),
            Checked {
                events: 4,
                offenders: vec![
                    offender(2, crate::nostr::Malformed::MissingKey("id").into()),
                    offender(4, Defect::NotUtf8),
                    offender(5, Defect::TooLong(LINE_BYTES)),
                    offender(6, crate::nostr::Malformed::NotAnObject.into()),
                ],
            }
        );
        assert_eq!(verified(b""), Checked::default());
    }
}
