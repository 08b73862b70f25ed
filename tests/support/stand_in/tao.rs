//! JSON as strfry reads and writes it (taocpp/json, as it comes with strfry 1.1.1).
//!
//! Written without the library's parser and writer, so that each is a check of the other.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Deserialize;
use serde_json::value::RawValue;

/// A value; numbers are kept apart as strfry keeps them.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    Unsigned(u64),
    /// Written with a minus, -0 too.
    Signed(i64),
    Double(f64),
    Text(String),
    Array(Vec<Json>),
    /// strfry sorts the keys.
    Object(BTreeMap<String, Json>),
}

/// strfry goes as deep as there is a stack; this goes deeper than any event that is taken.
const DEPTH: usize = 500;

/// Parses JSON as strfry does: a repeated key in any object is an error.
pub fn parse(text: &[u8]) -> Option<Json> {
    read(serde_json::from_slice::<&RawValue>(text).ok()?.get(), DEPTH)
}

fn read(text: &str, depth: usize) -> Option<Json> {
    let depth = depth.checked_sub(1)?;
    Some(match text.as_bytes().first()? {
        b'n' => Json::Null,
        b't' | b'f' => Json::Bool(text == "true"),
        b'"' => Json::Text(serde_json::from_str(text).ok()?),
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            Json::Array(items.iter().map(|item| read(item.get(), depth)).collect::<Option<_>>()?)
        }
        b'{' => {
            let Members(members) = serde_json::from_str(text).ok()?;
            let mut object = BTreeMap::new();
            for (key, value) in members {
                if object.insert(key, read(value.get(), depth)?).is_some() {
                    return None;
                }
            }
            Json::Object(object)
        }
        _ => return number(text),
    })
}

fn number(text: &str) -> Option<Json> {
    if !text.contains(['.', 'e', 'E']) {
        let integer = match text.starts_with('-') {
            true => text.parse().ok().map(Json::Signed),
            false => text.parse().ok().map(Json::Unsigned),
        };
        if integer.is_some() {
            return integer;
        }
    }
    text.parse().ok().filter(|number: &f64| number.is_finite()).map(Json::Double)
}

/// The members of an object, in the order in which they come, repeated ones too.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut members: A,
            ) -> Result<Members<'de>, A::Error> {
                let mut all = Vec::new();
                while let Some(member) = members.next_entry()? {
                    all.push(member);
                }
                Ok(Members(all))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

impl Json {
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members.get(key),
            _ => None,
        }
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Unsigned(number) => Some(*number),
            _ => None,
        }
    }

    pub fn as_array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// Appends the text that strfry stores and hashes.
    pub fn write(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Unsigned(number) => write!(out, "{number}").unwrap(),
            Self::Signed(number) => write!(out, "{number}").unwrap(),
            Self::Double(number) => out.push_str(&double(*number)),
            Self::Text(text) => write_text(out, text),
            Self::Array(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    out.push_str(if at > 0 { "," } else { "" });
                    item.write(out);
                }
                out.push(']');
            }
            Self::Object(members) => {
                out.push('{');
                for (at, (key, value)) in members.iter().enumerate() {
                    out.push_str(if at > 0 { "," } else { "" });
                    write_text(out, key);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

fn write_text(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            '\0'..='\u{1f}' | '\u{7f}' => write!(out, "\\u{:04x}", u32::from(character)).unwrap(),
            _ => out.push(character),
        }
    }
    out.push('"');
}

/// As strfry's copy of Ryu writes it: the fewest digits that read back as the number. Where a wrong
/// constant has it write others, those.
fn double(number: f64) -> String {
    let sign = if number.is_sign_negative() { "-" } else { "" };
    if let Some(text) = misprinted(number.abs()) {
        return format!("{sign}{text}");
    }
    if number == 0.0 {
        return format!("{sign}0.0");
    }
    let read_back = |digits: &usize| format!("{:.digits$e}", number).parse() == Ok(number);
    let digits = (0..17).find(read_back).unwrap_or(16);
    let scientific = format!("{:.digits$e}", number.abs());
    let (mantissa, exponent) = scientific.split_once('e').unwrap();
    let exponent: i32 = exponent.parse().unwrap();
    let digits = mantissa.replace('.', "");
    let point = usize::try_from(exponent + 1).unwrap_or(0);
    match exponent {
        0..=20 if digits.len() > point => {
            format!("{sign}{}.{}", &digits[..point], &digits[point..])
        }
        0..=20 => format!("{sign}{digits}{}.0", "0".repeat(point - digits.len())),
        -6..0 => format!("{sign}0.{}{digits}", "0".repeat((-1 - exponent) as usize)),
        _ => format!("{sign}{mantissa}e{exponent}"),
    }
}

/// Ryu, for the doubles for which strfry's copy uses one of its two wrong constants (`pow5_split[31]`
/// and `pow5_inv_split[49]` in `external/ryu.hpp`). In the digits of each, "2020" has become
/// "2020 - 2021", as in a copyright notice. All these doubles are written with an exponent.
fn misprinted(number: f64) -> Option<String> {
    let exponent = i32::try_from(number.to_bits() >> 52).ok()? - 1023;
    let (high, low, shift, power): (u64, u64, i32, i32) = match exponent {
        -45..=-43 => {
            (142_108_547_152_020 - 2_021_037, 3_213_881_284_082_270_208, 72 - exponent, -31)
        }
        221..=223 => (
            168_499_666_669_691_498,
            1_322_020_u64.wrapping_sub(20_216_756_290_269_483),
            338 - exponent,
            49,
        ),
        _ => return None,
    };
    let scaled = |value: u128| {
        let low = (value * u128::from(low)) >> 64;
        (low + value * u128::from(high)) >> (shift - 64)
    };
    let fraction = u128::from(number.to_bits() & ((1 << 52) - 1));
    let value = 4 * ((1 << 52) | fraction);
    let (mut least, mut middle, mut most) =
        (scaled(value - 1 - u128::from(fraction != 0)), scaled(value), scaled(value + 2));
    let (mut removed, mut last_removed) = (0, 0);
    while most / 10 > least / 10 {
        last_removed = middle % 10;
        (least, middle, most) = (least / 10, middle / 10, most / 10);
        removed += 1;
    }
    let digits = (middle + u128::from(middle == least || last_removed >= 5)).to_string();
    let exponent = power + removed + digits.len() as i32 - 1;
    let (first, rest) = digits.split_at(1);
    let point = if rest.is_empty() { "" } else { "." };
    Some(format!("{first}{point}{rest}e{exponent}"))
}
