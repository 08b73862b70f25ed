//! A reader of the configuration syntax that strfry uses (taocpp/config), for a few wanted keys.
//!
//! It checks the syntax of the whole text, but evaluates nothing: a wanted key that depends on
//! a reference, a function, an addition or an included file is reported as such, never guessed.

use super::tao_words::{Cursor, Parsed, SyntaxError};

/// Blocks and arrays may be nested this deep.
const MAX_NESTING: u8 = 64;

/// The value of a wanted key, as far as its type matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// A string, unescaped.
    Text(String),
    /// A non-negative integer below 2⁶⁴.
    Unsigned(u64),
    /// A block or an array.
    Block,
    /// Anything else.
    Other,
    /// A reference, a function, an addition or a wildcard: not evaluated.
    Computed,
}

/// A value and the line on which it is assigned, the first being 1.
pub(super) type Located = (Value, usize);

/// The last value of each of the `wanted` keys, which are paths of member names.
pub(super) fn last_values<const N: usize>(
    text: &[u8],
    wanted: [&[&str]; N],
) -> Result<[Option<Located>; N], SyntaxError> {
    let wanted = wanted.map(|path| Wanted { path, value: None });
    let mut parser = Parser { words: Cursor::new(text), nesting: 0, path: Vec::new(), wanted };
    parser.words.blanks()?;
    if parser.words.skip(b"{") {
        parser.members(Some(b'}'))?;
        parser.words.blanks()?;
        if parser.words.peek().is_some() {
            return Err(parser.words.expected("the end of the file after the closing '}'"));
        }
    } else {
        parser.members(None)?;
    }
    Ok(parser.wanted.map(|wanted| wanted.value))
}

struct Wanted<'w> {
    path: &'w [&'w str],
    value: Option<Located>,
}

/// One part of a dotted key.
enum Part {
    Name(Vec<u8>),
    /// `*`: every member.
    Any,
    /// An element of an array.
    Element,
}

impl Part {
    fn is(&self, name: &str) -> bool {
        match self {
            Self::Name(own) => own == name.as_bytes(),
            Self::Any => true,
            Self::Element => false,
        }
    }
}

struct Parser<'t, 'w, const N: usize> {
    words: Cursor<'t>,
    nesting: u8,
    /// Of the member whose value is being read.
    path: Vec<Part>,
    wanted: [Wanted<'w>; N],
}

impl<const N: usize> Parser<'_, '_, N> {
    /// Members up to `end`, or to the end of the text.
    fn members(&mut self, end: Option<u8>) -> Parsed<()> {
        loop {
            self.words.blanks()?;
            match (self.words.peek(), end) {
                (None, None) => return Ok(()),
                (None, Some(_)) => return Err(self.words.expected("'}' at the end of a block")),
                (Some(next), Some(end)) if next == end => {
                    self.words.next();
                    return Ok(());
                }
                (Some(_), _) => self.member()?,
            }
            self.words.blanks()?;
            self.words.skip(b",");
        }
    }

    fn member(&mut self) -> Parsed<()> {
        if self.words.peek() == Some(b'(') {
            return Err(self.words.expected(
                "a plain key: '(include …)', '(temporary …)' and '(permanent …)' are not followed \
                 here, so put the values into this file",
            ));
        }
        let outer = self.path.len();
        loop {
            let part = self.key_part()?;
            self.path.push(part);
            if !self.words.skip(b".") {
                break;
            }
        }
        self.words.blanks()?;
        if self.words.skip(b"=") || self.words.skip(b":") {
            self.forget();
            self.words.blanks()?;
            if !self.words.skip_word("delete") {
                self.value()?;
            }
        } else if self.words.skip(b"+=") {
            self.words.blanks()?;
            self.value()?;
        } else if matches!(self.words.peek(), Some(b'{' | b'[')) {
            self.value()?;
        } else {
            return Err(self.words.expected("'=', ':', '+=', '{' or '[' after a key"));
        }
        self.path.truncate(outer);
        Ok(())
    }

    fn key_part(&mut self) -> Parsed<Part> {
        match self.words.peek() {
            Some(b'"' | b'\'') => self.words.text().map(|text| Part::Name(text.into_bytes())),
            Some(b'*') => {
                self.words.next();
                Ok(Part::Any)
            }
            _ => self.words.name().map(Part::Name),
        }
    }

    /// An assignment replaces what the key, or a member below it, was before.
    fn forget(&mut self) {
        for wanted in &mut self.wanted {
            if leads_to(&self.path, wanted.path) {
                wanted.value = None;
            }
        }
    }

    /// Values joined by `+`, which become the value of the current path.
    fn value(&mut self) -> Parsed<()> {
        let line = self.words.line();
        let mut value = self.operand()?;
        loop {
            self.words.blanks()?;
            if !self.words.skip(b"+") {
                break;
            }
            self.words.blanks()?;
            let next = self.operand()?;
            if (&value, &next) != (&Value::Block, &Value::Block) {
                value = Value::Computed;
            }
        }
        if self.path.iter().any(|part| matches!(part, Part::Any)) {
            value = Value::Computed;
        }
        for wanted in &mut self.wanted {
            if !leads_to(&self.path, wanted.path) {
                continue;
            }
            if value == Value::Computed {
                wanted.value = Some((Value::Computed, line));
            } else if self.path.len() == wanted.path.len() {
                let first = wanted.value.is_none();
                let value = if first { value.clone() } else { Value::Computed };
                wanted.value = Some((value, line));
            }
        }
        Ok(())
    }

    fn operand(&mut self) -> Parsed<Value> {
        match self.words.peek() {
            Some(b'{') => self.nested(|parser| parser.members(Some(b'}'))),
            Some(b'[') => self.nested(Self::elements),
            Some(b'(') => self.bracketed(),
            Some(b'"' | b'\'') => self.words.text().map(Value::Text),
            Some(b'$') => self.words.binary().map(|()| Value::Other),
            _ => Ok(self.words.atom()?.map_or(Value::Other, Value::Unsigned)),
        }
    }

    /// Skips the opening bracket and reads what is inside.
    fn nested(&mut self, inside: impl FnOnce(&mut Self) -> Parsed<()>) -> Parsed<Value> {
        if self.nesting == MAX_NESTING {
            return Err(self.words.expected("blocks nested less deeply"));
        }
        self.words.next();
        self.nesting = self.nesting.saturating_add(1);
        inside(self)?;
        self.nesting = self.nesting.saturating_sub(1);
        Ok(Value::Block)
    }

    fn elements(&mut self) -> Parsed<()> {
        loop {
            self.words.blanks()?;
            if self.words.skip(b"]") {
                return Ok(());
            }
            if self.words.peek().is_none() {
                return Err(self.words.expected("']' at the end of an array"));
            }
            self.path.push(Part::Element);
            self.value()?;
            self.path.pop();
            self.words.skip(b",");
        }
    }

    /// A reference or a function call, skipped to its closing bracket.
    fn bracketed(&mut self) -> Parsed<Value> {
        let mut open: usize = 0;
        loop {
            self.words.blanks()?;
            match self.words.peek() {
                None => return Err(self.words.expected("')'")),
                Some(b'"' | b'\'') => {
                    self.words.text()?;
                }
                Some(byte) => {
                    self.words.next();
                    match byte {
                        b'(' => open = open.saturating_add(1),
                        b')' => open = open.saturating_sub(1),
                        _ => {}
                    }
                }
            }
            if open == 0 {
                return Ok(Value::Computed);
            }
        }
    }
}

/// Whether `path` is the wanted key or a block around it.
fn leads_to(path: &[Part], wanted: &[&str]) -> bool {
    path.len() <= wanted.len() && path.iter().zip(wanted).all(|(part, name)| part.is(name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(text: &str) -> Result<[Option<Located>; 2], SyntaxError> {
        last_values(text.as_bytes(), [&["db"], &["events", "size"]])
    }

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    #[test]
    fn all_ways_to_write_a_member_mean_the_same() {
        for written in [
            "db = \"x\"\nevents { size = 5 }",
            "{ \"db\": \"x\",\n\"events\": { \"size\": 5, }, }",
            "db:'x'\nevents.size=0x5",
            "/* a\n*/ 'events'.\"size\" : +5 // b\ndb = \"\"\"\nx\"\"\" # \"",
            "db=\"\\u{78}\"events{size=5}#",
            "events { size = 3 } events { size = 4 } events.size = 5 db = 1 db = 'x'",
            "events = 5 events = delete events += { a [1 [2], {size = 7}] } + { size += 5 } db = '\\u0078'",
        ] {
            let found = values(written).unwrap().map(|value| value.unwrap().0);
            assert_eq!(found, [text("x"), Value::Unsigned(5)], "{written}");
        }
    }

    #[test]
    fn a_value_knows_its_line() {
        let written = "\n# one\n/* two\nthree */ events {\n  a = \"x\"\n  size = \n 65536\n}\n";
        assert_eq!(values(written), Ok([None, Some((Value::Unsigned(65536), 7))]));
    }

    #[test]
    fn what_looks_like_a_key_inside_something_else_is_none() {
        for written in [
            "other { db = 'x' events { size = 5 } }",
            "a = [ { db = 'x' } ] b = \"db = 'y'\" # db = 'z'",
            "\"events.size\" = 5",
            "db = 'x' db = delete events { size = 5 } events = { other = 1 }",
        ] {
            assert_eq!(values(written), Ok([None, None]), "{written}");
        }
    }

    #[test]
    fn what_would_have_to_be_evaluated_is_reported_and_never_guessed() {
        for written in [
            "db = (env \"HOME\" + ')') events.size = (a.b)",
            "db = 'a' + 'b' events.size = 1 + 2",
            "db = 'a' db += 'b' events { size = 1 size += 2 }",
            "db = $ff + $'a\\'' events.size = 5 *.size = 7 * += 1",
            "db = (x) events { size = 5 } + (defaults)",
            "db = (x) events = (defaults)",
        ] {
            let found = values(written).unwrap().map(|value| value.unwrap().0);
            assert_eq!(found, [Value::Computed, Value::Computed], "{written}");
        }
        assert_eq!(values("\n(include \"x\")").unwrap_err().line, 2);
    }

    #[test]
    fn other_types_are_other() {
        let none = last_values(b"db = {} events.size = []", [&["db"], &["events", "size"]]);
        assert_eq!(none.unwrap().map(|value| value.unwrap().0), [Value::Block, Value::Block]);
        for other in ["-5", "1.0", "1e3", ".5", "18446744073709551616", "true", "null", "$ab.cd"] {
            let found = values(&format!("db = {other} events.size = {other}")).unwrap();
            assert_eq!(
                found.map(|value| value.unwrap().0),
                [Value::Other, Value::Other],
                "{other}"
            );
        }
    }

    #[test]
    fn an_error_names_its_line() {
        for (written, line) in [
            ("a = 1\nevents {", 2),
            ("a = \"x\n\"", 2),
            ("\n\na b", 3),
            ("a = 01", 1),
            ("a = 1 }", 1),
            ("a = '\\x'", 1),
            ("a = '\\ud800'", 1),
            ("/* a", 1),
            ("a = [1", 1),
            ("a = (b", 1),
            ("{ a = 1 } b", 1),
            ("\n=", 2),
        ] {
            assert_eq!(values(written).unwrap_err().line, line, "{written}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_not_recursed_into() {
        for open in ["a{", "a=[[[[", "a=((((", "a="] {
            assert!(values(&open.repeat(500_000)).is_err(), "{open}");
        }
        let deep = format!("{}db=1{}", "a{".repeat(64), "}".repeat(64));
        assert_eq!(values(&deep), Ok([None, None]));
    }

    fn tokens() -> impl Strategy<Value = String> {
        let token = prop::sample::select(vec![
            "db", "events", "size", ".", "=", ":", "+=", "+", "{", "}", "[", "]", "(", ")", ",",
            "\"", "'", "\"\"\"", "\\", "\\u", "d83d", "#", "//", "/*", "*/", "\n", "\r\n", " ",
            "0x", "12", "-", "1e", "true", "null", "delete", "$", "*", "é", "NaN",
        ]);
        prop::collection::vec(token, 0..60).prop_map(|tokens| tokens.concat())
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let _ = last_values(&bytes, [&["db"]]);
        }

        #[test]
        fn no_tokens_make_the_reader_panic(text in tokens()) {
            let _ = values(&text);
        }

        #[test]
        fn any_string_written_as_json_reads_back(written: String, size: u64) {
            let quoted = serde_json::to_string(&written).unwrap().replace('\u{7f}', "\\u007f");
            let conf = format!("# c\ndb = {quoted} // c\nevents {{ size = {size} }}");
            prop_assert_eq!(
                values(&conf),
                Ok([Some((text(&written), 2)), Some((Value::Unsigned(size), 3))])
            );
        }
    }
}
