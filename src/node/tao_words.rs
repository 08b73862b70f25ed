//! The words of the configuration syntax that strfry uses: blanks, names, strings, numbers.
//!
//! It reads them one by one; how they make members and blocks is not its concern.

/// Where the text is not what the syntax allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SyntaxError {
    /// The first line is 1.
    pub line: usize,
    /// What belongs there.
    pub expected: &'static str,
}

/// What reading a word gives.
pub(super) type Parsed<T> = Result<T, SyntaxError>;

/// What is left of a text.
pub(super) struct Cursor<'t> {
    rest: &'t [u8],
    line: usize,
}

impl<'t> Cursor<'t> {
    /// At the beginning of `text`.
    pub fn new(text: &'t [u8]) -> Self {
        Self { rest: text, line: 1 }
    }

    /// The current line; the first is 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// An error at the current place.
    pub fn expected(&self, expected: &'static str) -> SyntaxError {
        SyntaxError { line: self.line, expected }
    }

    /// The next byte, which stays.
    pub fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// Takes the next byte.
    pub fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        if *first == b'\n' {
            self.line = self.line.saturating_add(1);
        }
        Some(*first)
    }

    fn next_if(&mut self, wanted: impl Fn(u8) -> bool) -> Option<u8> {
        self.peek().filter(|byte| wanted(*byte))?;
        self.next()
    }

    fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> Vec<u8> {
        std::iter::from_fn(|| self.next_if(&wanted)).collect()
    }

    /// Skips `text`, which holds no line feed, if it comes next.
    pub fn skip(&mut self, text: &[u8]) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Skips white space and comments.
    pub fn blanks(&mut self) -> Parsed<()> {
        loop {
            if self.skip(b"#") || self.skip(b"//") {
                while self.next_if(|byte| byte != b'\n').is_some() {}
            } else if self.skip(b"/*") {
                while !self.skip(b"*/") {
                    self.next().ok_or_else(|| self.expected("'*/' at the end of a comment"))?;
                }
            } else if self.next_if(|byte| b" \t\r\n".contains(&byte)).is_none() {
                return Ok(());
            }
        }
    }

    /// A number or a literal name; `None` for what is no non-negative integer below 2⁶⁴.
    pub fn atom(&mut self) -> Parsed<Option<u64>> {
        let negative = self.peek() == Some(b'-');
        if negative || self.peek() == Some(b'+') {
            self.next();
        } else if self.skip(b"null") || self.skip(b"true") || self.skip(b"false") {
            return Ok(None);
        }
        if self.skip(b"NaN") || self.skip(b"Infinity") {
            return Ok(None);
        }
        Ok(self.number()?.filter(|_| !negative))
    }

    /// A name without quotes, or the index of an array's element.
    pub fn name(&mut self) -> Parsed<Vec<u8>> {
        let name = match self.peek() {
            Some(b'0'..=b'9') => self.take_while(|byte| byte.is_ascii_digit()),
            Some(b'-') => vec![],
            _ => self.take_while(is_name_byte),
        };
        if name.is_empty() { Err(self.expected("a key")) } else { Ok(name) }
    }

    /// Skips `word` unless it is the beginning of a longer name.
    pub fn skip_word(&mut self, word: &str) -> bool {
        match self.rest.strip_prefix(word.as_bytes()) {
            Some(rest) if !rest.first().copied().is_some_and(is_name_byte) => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// A binary value, from its `$` on.
    pub fn binary(&mut self) -> Parsed<()> {
        self.next();
        let Some(quote) = self.next_if(|byte| byte == b'"' || byte == b'\'') else {
            self.take_while(|byte| byte.is_ascii_hexdigit() || byte == b'.');
            return Ok(());
        };
        loop {
            match self.next() {
                Some(byte) if byte == quote => return Ok(()),
                Some(b'\\') if self.next().is_some() => {}
                None | Some(b'\\' | b'\n') => {
                    return Err(self.expected("a quote at the end of a binary string"));
                }
                Some(_) => {}
            }
        }
    }

    /// `None` for a number that is no integer below 2⁶⁴.
    fn number(&mut self) -> Parsed<Option<u64>> {
        if self.skip(b"0x") || self.skip(b"0X") {
            let digits = self.take_while(|byte| byte.is_ascii_hexdigit());
            return parse_digits(&digits, 16)
                .map(Some)
                .ok_or_else(|| self.expected("a hexadecimal number of at most 64 bits"));
        }
        let digits = self.take_while(|byte| byte.is_ascii_digit());
        if digits.len() > 1 && digits.first() == Some(&b'0') {
            return Err(self.expected("a number without leading zeros"));
        }
        let fraction = self.skip(b".");
        let decimals =
            if fraction { self.take_while(|byte| byte.is_ascii_digit()) } else { vec![] };
        if digits.is_empty() && decimals.is_empty() {
            return Err(self.expected("a value"));
        }
        let exponent = self.skip(b"e") || self.skip(b"E");
        if exponent {
            self.next_if(|byte| byte == b'+' || byte == b'-');
            if self.take_while(|byte| byte.is_ascii_digit()).is_empty() {
                return Err(self.expected("the digits of an exponent"));
            }
        }
        Ok(if fraction || exponent { None } else { parse_digits(&digits, 10) })
    }

    /// A string in one of the four kinds of quotes, unescaped.
    pub fn text(&mut self) -> Parsed<String> {
        let bytes = if self.skip(br#"""""#) {
            self.raw_text(br#"""""#)?
        } else if self.skip(b"'''") {
            self.raw_text(b"'''")?
        } else {
            self.quoted_text()?
        };
        String::from_utf8(bytes).map_err(|_| self.expected("UTF-8 in a string"))
    }

    /// Up to three quotes, verbatim but for a line end right at the beginning.
    fn raw_text(&mut self, end: &[u8]) -> Parsed<Vec<u8>> {
        let mut text = Vec::new();
        if !self.skip(b"\r\n") {
            self.next_if(|byte| byte == b'\n');
        }
        while !self.skip(end) {
            text.push(self.next().ok_or_else(|| self.expected("three quotes after a string"))?);
        }
        Ok(text)
    }

    fn quoted_text(&mut self) -> Parsed<Vec<u8>> {
        let quote = self.next();
        let mut text = Vec::new();
        loop {
            match self.next() {
                next if next == quote && next.is_some() => return Ok(text),
                Some(b'\\') => self.escape(&mut text)?,
                Some(0..0x20 | 0x7f) | None => {
                    return Err(self.expected("a quote at the end of a string, on the same line"));
                }
                Some(byte) => text.push(byte),
            }
        }
    }

    fn escape(&mut self, text: &mut Vec<u8>) -> Parsed<()> {
        const BAD: &str = "a valid escape after '\\'";
        match self.next() {
            Some(byte @ (b'"' | b'\'' | b'\\' | b'/')) => text.push(byte),
            Some(b'b') => text.push(0x08),
            Some(b'f') => text.push(0x0c),
            Some(b'n') => text.push(b'\n'),
            Some(b'r') => text.push(b'\r'),
            Some(b't') => text.push(b'\t'),
            Some(b'v') => text.push(0x0b),
            Some(b'0') => text.push(0),
            Some(b'u') => {
                let character = if self.skip(b"{") {
                    let digits = self.take_while(|byte| byte.is_ascii_hexdigit());
                    if !self.skip(b"}") {
                        return Err(self.expected(BAD));
                    }
                    parse_digits(&digits, 16)
                        .and_then(|code| u32::try_from(code).ok())
                        .and_then(char::from_u32)
                } else {
                    self.utf16()
                };
                let character = character.ok_or_else(|| self.expected(BAD))?;
                text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
            _ => return Err(self.expected(BAD)),
        }
        Ok(())
    }

    /// The four digits after `\u`, and a second such escape if they need one.
    fn utf16(&mut self) -> Option<char> {
        let first = self.utf16_unit()?;
        let second = match first {
            0xd800..0xdc00 if self.skip(b"\\u") => Some(self.utf16_unit()?),
            _ => None,
        };
        let mut decoded = char::decode_utf16(std::iter::once(first).chain(second));
        let character = decoded.next()?.ok()?;
        decoded.next().is_none().then_some(character)
    }

    fn utf16_unit(&mut self) -> Option<u16> {
        let (digits, rest) = self.rest.split_at_checked(4)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        self.rest = rest;
        parse_digits(digits, 16)?.try_into().ok()
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

fn parse_digits(digits: &[u8], radix: u32) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_come_in_four_kinds_of_quotes() {
        for (written, expected) in [
            (r#""it's""#, "it's"),
            (r#"'say "x"'"#, "say \"x\""),
            ("\"\"\"\r\na\\n\"b\"\n\"\"\"", "a\\n\"b\"\n"),
            ("''''x'''", "'x"),
            (r#""\b\f\n\r\t\v\0\/\\\"\'""#, "\u{8}\u{c}\n\r\t\u{b}\0/\\\"'"),
            (r#""\u00e9\ud83d\ude00\u{1F600}é""#, "é😀😀é"),
        ] {
            assert_eq!(Cursor::new(written.as_bytes()).text(), Ok(expected.into()), "{written}");
        }
    }

    #[test]
    fn what_is_no_string_is_refused() {
        for written in [
            "\"",
            "\"a\nb\"",
            "\"a\u{7f}\"",
            r#""\x""#,
            r#""\u12""#,
            r#""\ud83d""#,
            r#""\ude00""#,
            r#""\ud83d\u0041""#,
            r#""\u{110000}""#,
            r#""\u{}""#,
            "'''a''",
        ] {
            assert!(Cursor::new(written.as_bytes()).text().is_err(), "{written}");
        }
        assert!(Cursor::new(b"\"\xff\"").text().is_err());
    }
}
