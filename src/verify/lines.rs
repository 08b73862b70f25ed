//! Events as JSON lines, such as an export, in bounded memory whatever the input.

use std::io::{self, Read};

use super::judge::{Defect, judge};
use super::{Checked, Offender};
use crate::jsonl::Pieces;
use crate::nostr::{Event, signature};

/// A longer line is no event. strfry itself refuses more than its `events.maxEventSize` (65,536
/// unless configured); fried, an event takes at most three times its bytes.
pub const LINE_BYTES: usize = 16 << 20;

/// Checks every line that is not blank and hands on what came of each batch, until that fails.
///
/// # Errors
/// The input cannot be read, or what `tell` returns.
pub fn verify_lines<E: From<io::Error>>(
    input: impl Read,
    mut tell: impl FnMut(Checked) -> Result<(), E>,
) -> Result<(), E> {
    for piece in Pieces::new(input, LINE_BYTES) {
        let piece = piece?;
        let lines: Vec<_> = piece.lines().collect();
        let verdicts = signature::check_all(&lines, |&(number, line)| offender(number, line));
        let offenders = verdicts.into_iter().flatten().collect();
        tell(Checked { events: lines.len() as u64, offenders })?;
    }
    Ok(())
}

fn offender(number: u64, line: Option<&[u8]>) -> Option<Offender> {
    let is_wrong = |id, reason| Some(Offender { id, lev_id: None, line: Some(number), reason });
    let Some(bytes) = line else { return is_wrong(None, Defect::TooLong(LINE_BYTES)) };
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
