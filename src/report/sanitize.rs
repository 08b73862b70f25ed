//! Makes strangers' text safe to show: on a terminal, and in a log that other programs read.
//!
//! Replaces, never removes: what was there stays visible as an escape such as `\u{202e}`.

use std::borrow::Cow;
use std::fmt::Write;

use unicode_width::UnicodeWidthChar;

/// How much of one text [`clean_for_log`] keeps, in columns: a name of 60 kB must not fill a log.
pub const LOGGED_COLUMNS: usize = 300;

/// What programs look for in the log, each as the text before and from the character that is
/// escaped. Compared without regard to ASCII case.
const MARKS: [(&str, &str); 5] = [
    ("f", "ailed"),
    ("", "❌"),
    ("SYNC", "_"),
    ("Starting", " Astroport"),
    ("Backfill", " process"),
];

/// Text in one line without a character that a terminal obeys or hides; otherwise unchanged.
/// Cleaning twice changes nothing more.
pub fn clean(text: &str) -> Cow<'_, str> {
    escape(text, is_unsafe, |cleaned, character| cleaned.extend(character.escape_unicode()))
}

/// Like [`clean`], for text of many lines: line feeds stay.
pub fn clean_lines(text: &str) -> Cow<'_, str> {
    escape(text, is_unsafe_in_lines, |cleaned, character| {
        cleaned.extend(character.escape_unicode());
    })
}

/// Like [`clean_lines`], for JSON: escapes as JSON does (`\u202e`), so that every value stays as it
/// is.
pub fn clean_json(text: &str) -> Cow<'_, str> {
    escape(text, is_unsafe_in_lines, |cleaned, character| {
        for unit in character.encode_utf16(&mut [0; 2]) {
            // Writing to a String cannot fail.
            let _ = write!(cleaned, "\\u{unit:04x}");
        }
    })
}

/// Replaces each character that `is_escaped` by what `push` adds for it. None of those that
/// [`is_plain`] may be.
fn escape(
    text: &str,
    is_escaped: impl Fn(char) -> bool,
    push: impl Fn(&mut String, char),
) -> Cow<'_, str> {
    let mut rest = text;
    let clean = loop {
        rest = rest.split_at(plain_bytes(rest)).1;
        let mut characters = rest.chars();
        match characters.next() {
            None => return Cow::Borrowed(text),
            Some(character) if is_escaped(character) => break text.len() - rest.len(),
            Some(_) => rest = characters.as_str(),
        }
    };
    let mut cleaned = String::with_capacity(text.len());
    cleaned.push_str(text.split_at(clean).0);
    for character in rest.chars() {
        if is_escaped(character) {
            push(&mut cleaned, character);
        } else {
            cleaned.push(character);
        }
    }
    Cow::Owned(cleaned)
}

/// How many bytes at the start of a text are plain. Whole blocks are looked at first: nearly all
/// text is plain, and a loop that does not stop within a block is one that uses SIMD.
fn plain_bytes(text: &str) -> usize {
    const BLOCK: usize = 32;
    let is_whole = |block: &&[u8]| block.iter().fold(true, |all, byte| all & is_plain(*byte));
    let whole = text.as_bytes().chunks_exact(BLOCK).take_while(is_whole).count() * BLOCK;
    let rest = text.bytes().skip(whole);
    whole + rest.take_while(|byte| is_plain(*byte)).count()
}

/// Whether a byte is a character that is always shown as it is.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~')
}

/// Like [`clean`], and never wider than `max_columns` of a terminal: a longer text ends in `…`.
/// A character of no width counts as one column, so that stacked accents are bounded too. No
/// escape is cut in two.
pub fn clean_to(text: &str, max_columns: usize) -> Cow<'_, str> {
    // Most texts: nothing to escape, and a column for each byte.
    if text.len() <= max_columns && text.bytes().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut columns = 0_usize;
    let mut kept = String::new();
    let mut kept_before_ellipsis = 0;
    for character in text.chars() {
        let escaped = is_unsafe(character);
        let width = if escaped {
            character.escape_unicode().len()
        } else {
            character.width().unwrap_or_default().max(1)
        };
        columns = columns.saturating_add(width);
        if columns > max_columns {
            kept.truncate(kept_before_ellipsis);
            if max_columns > 0 {
                kept.push('…');
            }
            return Cow::Owned(kept);
        }
        push(&mut kept, character, escaped);
        if columns < max_columns {
            kept_before_ellipsis = kept.len();
        }
    }
    if kept == text { Cow::Borrowed(text) } else { Cow::Owned(kept) }
}

/// For text from outside that becomes part of a log line: cleaned, at most [`LOGGED_COLUMNS`]
/// (and a few escapes) wide, and without the words by which other programs find failures,
/// statistics, start and end in the log: `failed` becomes `f\u{61}iled`.
///
/// Do not put it right after a `❌`: only a mark that lies within the text is defused.
pub fn clean_for_log(text: &str) -> Cow<'_, str> {
    match clean_to(text, LOGGED_COLUMNS) {
        Cow::Borrowed(text) => defuse(text),
        Cow::Owned(text) => Cow::Owned(defuse(&text).into_owned()),
    }
}

/// Like [`clean_for_log`], and never cut: for texts whose length is bounded elsewhere.
pub fn clean_whole_for_log(text: &str) -> Cow<'_, str> {
    match clean(text) {
        Cow::Borrowed(text) => defuse(text),
        Cow::Owned(text) => Cow::Owned(defuse(&text).into_owned()),
    }
}

fn defuse(text: &str) -> Cow<'_, str> {
    if !text.char_indices().any(|(at, _)| is_mark(text, at)) {
        return Cow::Borrowed(text);
    }
    let mut defused = String::with_capacity(text.len());
    for (at, character) in text.char_indices() {
        push(&mut defused, character, is_mark(text, at));
    }
    Cow::Owned(defused)
}

fn is_mark(text: &str, at: usize) -> bool {
    let Some((before, from)) = text.as_bytes().split_at_checked(at) else { return false };
    MARKS.iter().any(|(mark_before, mark_from)| {
        let start = before.len().checked_sub(mark_before.len());
        let before = start.and_then(|start| before.get(start..));
        let from = from.get(..mark_from.len());
        before.is_some_and(|bytes| bytes.eq_ignore_ascii_case(mark_before.as_bytes()))
            && from.is_some_and(|bytes| bytes.eq_ignore_ascii_case(mark_from.as_bytes()))
    })
}

fn push(text: &mut String, character: char, escaped: bool) {
    if escaped {
        text.extend(character.escape_unicode());
    } else {
        text.push(character);
    }
}

fn is_unsafe_in_lines(character: char) -> bool {
    character != '\n' && is_unsafe(character)
}

/// What a terminal obeys, or shows as nothing at all: Cc, the separators of lines and paragraphs,
/// format characters (Cf) that are not themselves visible, and what Unicode 17 calls
/// Default_Ignorable_Code_Point (DerivedCoreProperties.txt), assigned or not; and the one symbol
/// that is blank. Left alone are the two variation selectors that say how an emoji is shown.
fn is_unsafe(character: char) -> bool {
    if character.is_ascii() {
        return character.is_ascii_control();
    }
    // C1.
    character.is_control()
        || matches!(
            character,
            '\u{ad}'                        // soft hyphen
            | '\u{34f}'                     // combining grapheme joiner
            | '\u{61c}'                     // Arabic letter mark
            | '\u{70f}'                     // Syriac abbreviation mark
            | '\u{115f}' | '\u{1160}'       // Hangul fillers
            | '\u{17b4}' | '\u{17b5}'       // Khmer inherent vowels
            | '\u{180b}'..='\u{180f}'       // Mongolian variation selectors, vowel separator
            | '\u{200b}'..='\u{200f}'       // zero-width, left-to-right and right-to-left marks
            | '\u{2028}'..='\u{202e}'       // line and paragraph separators, embeddings, overrides
            | '\u{2060}'..='\u{206f}'       // invisible operators, isolates
            | '\u{2800}'                    // Braille pattern without a dot
            | '\u{3164}' | '\u{ffa0}'       // Hangul fillers
            | '\u{fe00}'..='\u{fe0d}'       // variation selectors that no emoji needs
            | '\u{feff}'                    // byte order mark
            | '\u{fff0}'..='\u{fffb}'       // unassigned, interlinear annotation
            | '\u{13430}'..='\u{1343f}'     // joiners of hieroglyphs
            | '\u{1bca0}'..='\u{1bca3}'     // controls of shorthand
            | '\u{1d173}'..='\u{1d17a}'     // beams and slurs of musical notation
            | '\u{e0000}'..='\u{e0fff}'     // tags, variation selectors that can carry hidden text
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ordinary_text_of_any_script_is_left_alone() {
        for text in ["", "Alice", "Zoë Ångström", "Ελένη", "שלום", "小林", "⚡️ ❤️", "\\u{1b}"]
        {
            assert!(matches!(clean(text), Cow::Borrowed(same) if same == text), "{text}");
            assert!(matches!(clean_for_log(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn terminal_escape_injection_is_shown_not_obeyed() {
        assert_eq!(clean("\x1b[2J\x1b]0;pwned\x07"), r"\u{1b}[2J\u{1b}]0;pwned\u{7}");
        assert_eq!(clean("\u{9b}31mred\u{90}q\u{7f}\x08"), r"\u{9b}31mred\u{90}q\u{7f}\u{8}");
    }

    #[test]
    fn an_unsafe_character_is_found_wherever_it_stands_in_a_long_text() {
        for plain in ["x", "é", "小"] {
            for before in 0..100 {
                let [before, after] = [plain.repeat(before), plain.repeat(100)];
                let text = format!("{before}\u{1b}{after}\u{202e}");
                assert_eq!(clean(&text), format!(r"{before}\u{{1b}}{after}\u{{202e}}"), "{before}");
            }
        }
    }

    #[test]
    fn a_forged_log_line_after_a_newline_stays_in_its_line() {
        assert_eq!(
            clean("Alice\r\n[2026-01-01 00:00:00] [ERROR] gone\u{85}\u{2028}\u{2029}\x0b"),
            r"Alice\u{d}\u{a}[2026-01-01 00:00:00] [ERROR] gone\u{85}\u{2028}\u{2029}\u{b}"
        );
    }

    #[test]
    fn a_right_to_left_override_cannot_turn_a_name_around() {
        assert_eq!(clean("\u{202e}gnp.exe\u{202c}"), r"\u{202e}gnp.exe\u{202c}");
        assert_eq!(
            clean("\u{61c}\u{200e}\u{200f}\u{2066}a\u{2069}"),
            r"\u{61c}\u{200e}\u{200f}\u{2066}a\u{2069}"
        );
    }

    #[test]
    fn a_lookalike_name_cannot_hide_characters() {
        assert_eq!(clean("Al\u{200b}ice\u{feff}"), r"Al\u{200b}ice\u{feff}");
        assert_eq!(
            clean("Bob\u{e0041}\u{e007f}\u{e0100}\u{ad}\u{2060}"),
            r"Bob\u{e0041}\u{e007f}\u{e0100}\u{ad}\u{2060}"
        );
    }

    #[test]
    fn what_is_shown_as_nothing_is_escaped_in_every_plane() {
        for character in
            "\u{34f}\u{115f}\u{17b5}\u{180b}\u{180f}\u{200d}\u{2028}\u{2069}\u{2800}\u{3164}\
                          \u{fe00}\u{fff3}\u{ffa0}\u{13437}\u{1bca1}\u{1d17a}\u{e0001}\u{e01f0}"
                .chars()
        {
            let text = format!("a{character}b");
            let escaped = format!("a{}b", character.escape_unicode());
            assert_eq!(clean(&text), escaped);
            assert_eq!(clean_to(&text, 40), escaped);
        }
    }

    #[test]
    fn lines_stay_lines_and_nothing_else_is_obeyed() {
        assert_eq!(clean_lines("one\ntwo\r\n\x1b[2J\n"), "one\ntwo\\u{d}\n\\u{1b}[2J\n");
        assert!(matches!(clean_lines("one\nZoë\n"), Cow::Borrowed("one\nZoë\n")));
    }

    #[test]
    fn json_keeps_its_values() {
        let text = "{\"a\":\"\u{202e}x\u{7f}\u{9b}31m\u{e0041}é\"}\n[]\n";
        let cleaned = r#"{"a":"\u202ex\u007f\u009b31m\udb40\udc41é"}"#.to_owned() + "\n[]\n";
        assert_eq!(clean_json(text), cleaned);
        assert!(matches!(clean_json("{}\n"), Cow::Borrowed("{}\n")));
    }

    #[test]
    fn a_long_text_is_cut_at_the_column_with_an_ellipsis() {
        assert_eq!(clean_to("Alice", 5), "Alice");
        assert_eq!(clean_to("Alice in Wonderland", 5), "Alic…");
        assert_eq!(clean_to("小林さん", 8), "小林さん");
        assert_eq!(clean_to("小林さん", 7), "小林さ…");
        assert_eq!(clean_to("小林さん", 6), "小林…");
        assert_eq!(clean_to("Alice", 1), "…");
        assert_eq!(clean_to("Alice", 0), "");
    }

    #[test]
    fn an_escape_is_not_cut_in_two() {
        assert_eq!(clean_to("a\x1bb", 8), r"a\u{1b}b");
        assert_eq!(clean_to("a\x1bbc", 8), r"a\u{1b}…");
        assert_eq!(clean_to("ab\x1b", 5), "ab…");
    }

    #[test]
    fn stacked_accents_cannot_flood_a_line() {
        let flood = format!("a{}", "\u{301}".repeat(10_000));
        assert_eq!(clean_to(&flood, 4), "a\u{301}\u{301}…");
    }

    #[test]
    fn a_name_cannot_forge_a_failure_in_the_log() {
        assert_eq!(clean_for_log("sync failed, FAILED"), r"sync f\u{61}iled, F\u{41}ILED");
        assert_eq!(clean_for_log("fFailed Failedailed"), r"fF\u{61}iled F\u{61}iledailed");
        assert_eq!(clean_for_log("❌ Batch 7"), r"\u{274c} Batch 7");
        assert_eq!(clean_for_log("❌ WebSocket ❌ P2P"), r"\u{274c} WebSocket \u{274c} P2P");
    }

    #[test]
    fn a_name_cannot_forge_statistics_start_or_end_in_the_log() {
        assert_eq!(clean_for_log("SYNC_STATS: events=9"), r"SYNC\u{5f}STATS: events=9");
        assert_eq!(
            clean_for_log("Starting Astroport constellation backfill process"),
            r"Starting\u{20}Astroport constellation backfill\u{20}process"
        );
        assert_eq!(clean_for_log("Backfill process completed"), r"Backfill\u{20}process completed");
    }

    #[test]
    fn a_long_text_of_bounded_length_is_defused_to_its_end() {
        let text = format!("{}\nfailed SYNC_HEX: ❌", "x".repeat(5_000));
        let cleaned =
            format!(r"{}\u{{a}}f\u{{61}}iled SYNC\u{{5f}}HEX: \u{{274c}}", "x".repeat(5_000));
        assert_eq!(clean_whole_for_log(&text), cleaned);
        assert!(matches!(clean_whole_for_log("plain"), Cow::Borrowed("plain")));
    }

    #[test]
    fn one_text_cannot_fill_the_log() {
        let logged = clean_for_log(&"x".repeat(60_000)).into_owned();
        assert_eq!(logged, format!("{}…", "x".repeat(LOGGED_COLUMNS - 1)));
    }

    fn hostile_text() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            any::<String>(),
            proptest::char::range('\0', '\u{ff}').prop_map(String::from),
            proptest::char::range('\u{2000}', '\u{2070}').prop_map(String::from),
            prop::sample::select(vec![
                "failed", "FAIL", "ed", "f", "❌", " Batch", "SYNC", "_", "…"
            ])
            .prop_map(String::from),
        ];
        prop::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn cleaned_text_holds_no_unsafe_character_and_cleans_to_itself(text in hostile_text()) {
            let cleaned = clean(&text);
            prop_assert!(!cleaned.contains(is_unsafe));
            prop_assert_eq!(clean(&cleaned), &*cleaned);
        }

        #[test]
        fn cleaned_json_has_the_same_value_and_no_unsafe_character(text in hostile_text()) {
            for json in [serde_json::to_string(&text), serde_json::to_string_pretty(&[&text, "x"])] {
                let json = json.unwrap();
                let cleaned = clean_json(&json);
                prop_assert!(!cleaned.contains(is_unsafe_in_lines));
                let [before, after]: [serde_json::Value; 2] =
                    [&*json, &*cleaned].map(|json| serde_json::from_str(json).unwrap());
                prop_assert_eq!(before, after);
            }
        }

        #[test]
        fn text_cut_to_a_width_is_clean_and_no_wider(text in hostile_text(), max in 0usize..40) {
            let cut = clean_to(&text, max);
            prop_assert!(!cut.contains(is_unsafe));
            prop_assert!(cut.chars().count() <= max);
            prop_assert!(unicode_width::UnicodeWidthStr::width(&*cut) <= max);
            prop_assert!(clean_to(&text, usize::MAX) == clean(&text));
        }

        #[test]
        fn logged_text_holds_nothing_that_the_failure_counter_counts(text in hostile_text()) {
            let logged = clean_for_log(&text).to_ascii_lowercase();
            prop_assert!(!logged.contains(is_unsafe));
            for word in ["failed", "❌", "sync_"] {
                prop_assert!(!logged.contains(word), "{word} in {logged}");
            }
        }
    }
}
