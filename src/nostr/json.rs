//! The canonical JSON text of strings and tags: what strfry stores and what the event id is the
//! hash of.

use serde_json::Value;

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

/// Appends any JSON value, compact, with object keys in byte order.
pub fn push_value(out: &mut String, value: &Value) {
    match value {
        Value::String(text) => push_string(out, text),
        Value::Array(items) => push_list(out, items, push_value),
        Value::Object(members) => {
            out.push('{');
            for (position, (key, member)) in members.iter().enumerate() {
                if position > 0 {
                    out.push(',');
                }
                push_string(out, key);
                out.push(':');
                push_value(out, member);
            }
            out.push('}');
        }
        Value::Number(number) if number.is_f64() => {
            out.push_str(&fraction(number.as_f64().unwrap_or_default()));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => out.push_str(&value.to_string()),
    }
}

/// Appends an event's tags, compact.
pub fn push_tags(out: &mut String, tags: &[Vec<TagField<'_>>]) {
    push_list(out, tags, |out, tag| {
        push_list(out, tag, |out, field| match field {
            TagField::Text(text) => push_string(out, text),
            TagField::Other(value) => push_value(out, value),
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

/// The shortest digits that read back as the same number, with a point or an exponent in it as
/// strfry 1.1.1 (taocpp/json) writes them: exponents from 10^21 and below 10^-6 only, no `+`.
fn fraction(number: f64) -> String {
    let scientific = format!("{number:e}");
    let exponent = scientific.split_once('e').and_then(|(_, exponent)| exponent.parse().ok());
    if !matches!(exponent, Some(-6..=20)) {
        return scientific;
    }
    let plain = number.to_string();
    if plain.contains('.') { plain } else { plain + ".0" }
}

#[cfg(test)]
mod tests {
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
    fn fractions_are_written_as_strfry_writes_them() {
        // Read and written by strfry 1.1.1.
        for (read, expected) in [
            ("0.0", "0.0"),
            ("-0.0", "-0.0"),
            ("1e3", "1000.0"),
            ("18446744073709551616", "18446744073709552000.0"),
            ("-9223372036854775809", "-9223372036854776000.0"),
            ("9.999999999e20", "999999999900000000000.0"),
            ("1e21", "1e21"),
            ("1.2345678901234567e21", "1.2345678901234568e21"),
            ("-1.5e300", "-1.5e300"),
            ("1.2345678901234567e-6", "0.0000012345678901234567"),
            ("-9.999999999e-7", "-9.999999999e-7"),
            ("5e-324", "5e-324"),
            ("1.2345678901234567e-7", "1.2345678901234566e-7"),
            ("0.012345678901234567", "0.012345678901234567"),
        ] {
            let mut written = String::new();
            push_value(&mut written, &serde_json::from_str(read).unwrap());
            assert_eq!(written, expected);
        }
    }

    proptest! {
        #[test]
        fn any_string_reads_back_as_it_was(text: String) {
            prop_assert_eq!(serde_json::from_str::<String>(&written(&text)).unwrap(), text);
        }
    }
}
