//! The canonical JSON text of strings and tags: what strfry stores and what the event id is the
//! hash of.

use std::ops::RangeInclusive;

use super::TagField;

/// How each byte is written inside a string: 0 as it is, `u` as `\u00xx`, else `\` and this.
const ESCAPE: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = b'u';
        byte += 1;
    }
    table[0x08] = b'b';
    table[0x09] = b't';
    table[0x0a] = b'n';
    table[0x0c] = b'f';
    table[0x0d] = b'r';
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    // strfry 1.1.1 (taocpp/json) escapes DEL; NIP-01 writes it verbatim.
    table[0x7f] = b'u';
    table
};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends `text` as a JSON string, quotes included: `"` and `\` escaped, control characters as
/// `\b \f \n \r \t` or `\u00xx`, DEL as `\u007f`, everything else verbatim.
pub fn push_string(out: &mut String, text: &str) {
    out.push('"');
    let mut rest = text;
    // Escaped bytes are ASCII, so every border here is one of characters.
    while let Some(at) = first_escaped(rest.as_bytes()) {
        out.push_str(&rest[..at]);
        let byte = rest.as_bytes()[at];
        let escape = ESCAPE[usize::from(byte)];
        out.push('\\');
        out.push(char::from(escape));
        if escape == b'u' {
            out.push_str("00");
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
    out.push('"');
}

/// Where the first byte is that must be escaped. Whole blocks without any are skipped, which
/// compilers turn into a few vector instructions each.
fn first_escaped(bytes: &[u8]) -> Option<usize> {
    const BLOCK: usize = 32;
    let is_escaped = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\' || byte == 0x7f;
    let blocks = bytes.chunks_exact(BLOCK);
    let clean = blocks
        .take_while(|block| !block.iter().fold(false, |found, &byte| found | is_escaped(byte)))
        .count();
    let start = clean * BLOCK;
    let within = bytes[start..].iter().position(|&byte| is_escaped(byte))?;
    Some(start + within)
}

/// Appends an event's tags, compact.
pub fn push_tags(out: &mut String, tags: &[Vec<TagField<'_>>]) {
    push_list(out, tags, |out, tag| {
        push_list(out, tag, |out, field| match field {
            TagField::Text(text) => push_string(out, text),
            TagField::Other(text) => out.push_str(text),
        });
    });
}

fn push_list<T>(out: &mut String, items: &[T], mut write: impl FnMut(&mut String, &T)) {
    out.push('[');
    for (position, item) in items.iter().enumerate() {
        if position > 0 {
            out.push(',');
        }
        write(out, item);
    }
    out.push(']');
}

/// A JSON value without what means nothing: white space goes, and strings are escaped as
/// [`push_string`] does it. Numbers keep their digits and objects the order of their keys, as their
/// author wrote and hashed them. `text` must be JSON.
pub(super) fn compact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for token in (Tokens { rest: text }) {
        match token {
            Token::Text(text) => push_string(&mut out, &unescaped(text)),
            Token::Number(text) => out.push_str(text),
            Token::Other(' ' | '\t' | '\n' | '\r') => {}
            Token::Other(other) => out.push(other),
        }
    }
    out
}

/// What strfry would store in other bytes than its author wrote and hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rewritten {
    /// This number, as it was written.
    Number(String),
    /// This number, which strfry may misprint: it is in a range where strfry misprints some.
    Misprinted(String),
    /// The keys of an object: strfry sorts them.
    KeyOrder,
    /// DEL, which strfry escapes and NIP-01 does not.
    Del,
}

/// What strfry rewrites in a compact JSON value, first of all.
pub fn rewritten(text: &str) -> Option<Rewritten> {
    // Of each array and object that is open, the last key.
    let mut last_keys: Vec<Option<String>> = Vec::new();
    let mut tokens = Tokens { rest: text };
    while let Some(token) = tokens.next() {
        match token {
            Token::Text(text) => {
                let text = unescaped(text);
                if text.contains('\u{7f}') {
                    return Some(Rewritten::Del);
                }
                if tokens.rest.starts_with(':')
                    && let Some(last) = last_keys.last_mut()
                {
                    if last.as_ref().is_some_and(|last| *last >= text) {
                        return Some(Rewritten::KeyOrder);
                    }
                    *last = Some(text);
                }
            }
            Token::Number(text) if text.parse().is_ok_and(is_misprinted) => {
                return Some(Rewritten::Misprinted(text.to_owned()));
            }
            Token::Number(text) if stored_number(text).as_deref() != Some(text) => {
                return Some(Rewritten::Number(text.to_owned()));
            }
            Token::Other('[' | '{') => last_keys.push(None),
            Token::Other(']' | '}') => drop(last_keys.pop()),
            Token::Number(_) | Token::Other(_) => {}
        }
    }
    None
}

/// A string with its quotes, a number, or any other character.
enum Token<'a> {
    Text(&'a str),
    Number(&'a str),
    Other(char),
}

/// The tokens of a text that is JSON.
struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let first = self.rest.chars().next()?;
        let length = match first {
            '"' => length_of_string(self.rest),
            '-' | '0'..='9' => {
                let is_within =
                    |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
                self.rest.bytes().take_while(|byte| is_within(byte)).count()
            }
            _ => first.len_utf8(),
        };
        let (token, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(match first {
            '"' => Token::Text(token),
            '-' | '0'..='9' => Token::Number(token),
            _ => Token::Other(first),
        })
    }
}

/// With both quotes.
fn length_of_string(text: &str) -> usize {
    let mut is_escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    });
    end.map_or(text.len(), |end| end + 2)
}

/// The text of a string that is valid JSON.
fn unescaped(string: &str) -> String {
    serde_json::from_str(string).unwrap_or_default()
}

/// The binary exponents of the doubles that strfry 1.1.1 misprints. Two constants in its copy of Ryu
/// are wrong, and these are the exponents that use them (taocpp/json, `external/ryu.hpp`).
/// `pow5_split[31]` makes another number of every double from 2^-45 up to 2^-42.
/// `pow5_inv_split[49]` changes the last digit of one double in fifty from 2^221 up to 2^224.
const MISPRINTED: [RangeInclusive<u64>; 2] = [978..=980, 1244..=1246];

/// Whether strfry 1.1.1 misprints doubles of this size. In the upper range it misprints only some,
/// but all are refused: which ones they are is nothing that an author could know.
fn is_misprinted(number: f64) -> bool {
    let biased_exponent = number.abs().to_bits() >> 52;
    MISPRINTED.iter().any(|range| range.contains(&biased_exponent))
}

/// What strfry 1.1.1 (taocpp/json) stores of a number. It takes integers of 64 bits as they are and
/// anything else for a double. `None`: it refuses the number, or may misprint it.
fn stored_number(text: &str) -> Option<String> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        // -0 is 0.
        let integer = text.parse::<u64>().map(|it| it.to_string());
        if let Ok(integer) = integer.or_else(|_| text.parse::<i64>().map(|it| it.to_string())) {
            return Some(integer);
        }
    }
    let number: f64 = text.parse().ok()?;
    let is_right = number.is_finite() && !is_misprinted(number);
    is_right.then(|| fraction(number))
}

/// The shortest digits that read back as the same number, of two equally near ones the even one,
/// with a point or an exponent as strfry 1.1.1 writes them: exponents from 10^21 on and below
/// 10^-6, no `+`.
fn fraction(number: f64) -> String {
    let sign = if number.is_sign_negative() { "-" } else { "" };
    let shortest = serde_json::Number::from_f64(number.abs()).map(|it| it.to_string());
    let shortest = shortest.unwrap_or_default();
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{part}");
    let digits = all.trim_start_matches('0');
    // The number is 0.DIGITS times ten to this power.
    let power = exponent + whole.len() as i32 - (all.len() - digits.len()) as i32;
    let digits = digits.trim_end_matches('0');
    let zeros = |count: i32| "0".repeat(usize::try_from(count).unwrap_or_default());
    let split = usize::try_from(power).ok().and_then(|power| digits.split_at_checked(power));
    match (power, split) {
        _ if digits.is_empty() => format!("{sign}0.0"),
        (-5..=0, _) => format!("{sign}0.{}{digits}", zeros(-power)),
        (1..=21, Some((whole, ""))) => format!("{sign}{whole}.0"),
        (1..=21, Some((whole, part))) => format!("{sign}{whole}.{part}"),
        (1..=21, None) => format!("{sign}{digits}{}.0", zeros(power - digits.len() as i32)),
        _ => match digits.split_at_checked(1) {
            Some((first, "")) => format!("{sign}{first}e{}", power - 1),
            Some((first, rest)) => format!("{sign}{first}.{rest}e{}", power - 1),
            None => String::new(),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn written(text: &str) -> String {
        let mut out = String::new();
        push_string(&mut out, text);
        out
    }

    #[test]
    fn control_characters_and_del_are_escaped_and_all_else_is_verbatim() {
        assert_eq!(
            written("\0\u{1}\u{8}\t\n\u{b}\u{c}\r\u{1f} \"\\/\u{7f}\u{80}é😀\u{2028}"),
            "\"\\u0000\\u0001\\b\\t\\n\\u000b\\f\\r\\u001f \\\"\\\\/\\u007f\u{80}é😀\u{2028}\""
        );
    }

    #[test]
    fn numbers_are_rewritten_as_strfry_rewrites_them() {
        // Written, and then as strfry 1.1.1 stored it, or null if it refused it.
        let numbers = include_str!("../../../tests/fixtures/numbers_rewritten.jsonl");
        let mut misprinted = BTreeSet::new();
        for line in numbers.lines() {
            let [written, stored]: [Option<String>; 2] = serde_json::from_str(line).unwrap();
            let written = written.unwrap();
            let ours = stored_number(&written);
            let number: f64 = written.parse().unwrap();
            let expected = stored.clone().filter(|_| !is_misprinted(number));
            assert_eq!(ours, expected, "{written}");
            if written == fraction(number) && stored.as_ref() != Some(&written) {
                misprinted.insert((number.abs().to_bits() >> 52) as i32 - 1023);
            }
        }
        // Neither range is wider than it has to be.
        assert_eq!(misprinted.into_iter().collect::<Vec<_>>(), [-45, -44, -43, 221, 222, 223]);
        assert!(numbers.lines().count() >= 2_800);
    }

    #[test]
    fn a_compact_value_keeps_digits_and_the_order_of_keys() {
        assert_eq!(
            compact("[ 1.50 , -0,\t{\"b\" : \"\\u0041\\u007f\\\\\",\n\"a\":[true , null]} ]"),
            r#"[1.50,-0,{"b":"A\u007f\\","a":[true,null]}]"#
        );
    }

    #[test]
    fn what_strfry_rewrites_is_found_at_any_depth() {
        let number = |text: &str| Some(Rewritten::Number(text.to_owned()));
        let misprinted = |text: &str| Some(Rewritten::Misprinted(text.to_owned()));
        for (text, expected) in [
            (r#"{"a":[1,2.5,{"b":null}],"b":"1e3"}"#, None),
            (r#"[{"a":1,"b":2},{"a":1}]"#, None),
            (r#"{"a":{"z":1},"b":0}"#, None),
            (r#"[[{"a":[1e3]}]]"#, number("1e3")),
            ("-0", number("-0")),
            (r#"{"a":5e-14}"#, misprinted("5e-14")),
            ("4.2588625714800235e66", misprinted("4.2588625714800235e66")),
            ("-4.2588625714800236e66", misprinted("-4.2588625714800236e66")),
            ("[2.6959946667150637e67]", misprinted("2.6959946667150637e67")),
            ("[2.695994666715064e67]", None),
            ("3.36999333339383e66", misprinted("3.36999333339383e66")),
            ("3.3699933333938296e66", None),
            (r#"[{"a":{"b":1,"a":2}}]"#, Some(Rewritten::KeyOrder)),
            (r#"{"b":[{"c":1}],"a":2}"#, Some(Rewritten::KeyOrder)),
            (r#"{"\"":1,"!":2}"#, Some(Rewritten::KeyOrder)),
            (r#"["\\u007f"]"#, None),
            (r#"["\u007f"]"#, Some(Rewritten::Del)),
        ] {
            assert_eq!(rewritten(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_string_reads_back_as_it_was(text: String) {
            prop_assert_eq!(serde_json::from_str::<String>(&written(&text)).unwrap(), text);
        }
    }
}
