//! Correctly signed events of every oddity that a relay or an import may judge: the id is the hash
//! of the text that NIP-01 prescribes, with each number and object as its author wrote it.

use fastrand::Rng;
use serde_json::Value;

use crate::support::events::Author;

/// An event and what is to be known about it.
#[derive(Debug, Clone)]
pub struct OddEvent {
    /// As it is sent: one JSON object without a newline, or what is none.
    pub line: String,
    /// Lowercase hex.
    pub id: String,
}

/// A JSON text: as it is hashed, and as it is sent.
#[derive(Clone)]
struct Text {
    hashed: String,
    sent: String,
}

impl Text {
    fn same(text: impl Into<String>) -> Self {
        let hashed = text.into();
        Self { sent: hashed.clone(), hashed }
    }
}

pub struct OddEvents {
    random: Rng,
    now: u64,
    made: u64,
}

impl OddEvents {
    pub fn new(seed: u64, now: u64) -> Self {
        Self { random: Rng::with_seed(seed), now, made: seed << 32 }
    }

    /// One event, by an author who has signed no other, so that none replaces or deletes another.
    pub fn event(&mut self) -> OddEvent {
        self.made += 1;
        let author = Author::new(self.made);
        let kind = self.kind();
        let created_at = self.created_at(&kind);
        let tags = self.tags(&author, &kind);
        let content = self.content(&kind);
        let pubkey = match self.random.u8(..) {
            0 | 1 => author.pubkey().to_string().to_uppercase(),
            2 => format!("0x{}", author.pubkey()),
            _ => author.pubkey().to_string(),
        };
        let hashed =
            format!("[0,\"{pubkey}\",{created_at},{kind},{},{}]", tags.hashed, content.hashed);
        let (id, sig) = author.sign(&hashed);
        let as_sent = |hex: &str, random: &mut Rng| match random.u8(..) {
            0 => hex.to_uppercase(),
            1 => format!("0x{hex}"),
            2 => format!("0x{}", &hex[2..]),
            3 => hex[..hex.len() - 1].to_owned(),
            4 => hex.replacen(char::is_alphabetic, "g", 1),
            _ => hex.to_owned(),
        };
        let members = [
            format!("\"id\":\"{}\"", as_sent(&id, &mut self.random)),
            format!("\"pubkey\":\"{pubkey}\""),
            format!("\"created_at\":{created_at}"),
            format!("\"kind\":{kind}"),
            format!("\"tags\":{}", tags.sent),
            format!("\"content\":{}", content.sent),
            format!("\"sig\":\"{}\"", as_sent(&sig, &mut self.random)),
        ];
        OddEvent { line: self.object(members.to_vec()), id }
    }

    /// The members in some order, with one that is missing, repeated or unknown at times.
    fn object(&mut self, mut members: Vec<String>) -> String {
        self.random.shuffle(&mut members);
        let at = self.random.usize(..members.len());
        match self.random.u8(..) {
            0 => drop(members.remove(at)),
            1 => members.push(members[at].clone()),
            2 => members.push("\"x\":[1e3,-0,{\"b\":1,\"a\":null}]".into()),
            3 => members.push("\"x\":{\"a\":1,\"a\":2}".into()),
            4 => members.extend(["\"x\":1".into(), "\"x\":2".into()]),
            5 => members.push("\"x\":\"\\ud83d\"".into()),
            6 => members.push("\"x\":1e999".into()),
            7 => members[at].push('x'),
            _ => {}
        }
        let comma = if self.random.u8(..) < 20 { " ,\t" } else { "," };
        format!("{{{}}}", members.join(comma))
    }

    fn kind(&mut self) -> String {
        let kinds = [
            "0",
            "1",
            "1",
            "1",
            "3",
            "5",
            "5",
            "6",
            "16",
            "7",
            "10002",
            "20001",
            "22242",
            "30023",
            "40000",
            "65535",
            "65536",
            "70000",
            "18446744073709551615",
        ];
        match self.random.u8(..) {
            0 => self.pick(&["-1", "1.0", "1e0", "\"1\"", "null", "-0", "18446744073709551616"]),
            _ => self.pick(&kinds),
        }
    }

    fn created_at(&mut self, kind: &str) -> String {
        let now = self.now;
        let number = match self.random.u8(..) {
            0..4 => now + 600,
            4..8 => now + 1_800,
            8..12 => now - 94_608_000 - 3_600,
            12..14 => 0,
            14..20 => self.pick_number(&[(1 << 40) - 1, 1 << 40, 1 << 44, 1 << 63, u64::MAX]),
            20 => {
                let odd = ["-5", "1.5e9", "1700000000.0", "-0", "\"1\"", "18446744073709551616"];
                return self.pick(&odd);
            }
            // Of an ephemeral kind a relay takes what is a minute old.
            _ if kind.starts_with("2") && self.random.bool() => now,
            _ => now - self.random.u64(120..10_000_000),
        };
        number.to_string()
    }

    fn content(&mut self, kind: &str) -> Text {
        match self.random.u8(..) {
            0 => Text::same(self.pick(&["null", "1", "{}", "[\"x\"]"])),
            1 => Text {
                hashed: "\"\u{7f}\"".into(),
                sent: self.pick(&["\"\u{7f}\"", "\"\\u007f\""]),
            },
            2 => Text::same("\"\\ud83d\""),
            // Around the largest event that strfry takes.
            3 => Text::same(format!("\"{}\"", "x".repeat(self.random.usize(65_150..65_260)))),
            4..8 if kind == "6" || kind == "16" => Text::same(r#""{\"tags\":[[\"-\"]]}""#),
            _ => self.string(),
        }
    }

    /// A string as NIP-01 writes it, sent with other escapes at times.
    fn string(&mut self) -> Text {
        let pieces =
            ["a", "/", "\"", "\\", "\n", "\u{1}", "\u{8}", "é", "\u{2028}", "😀", " ", "\\n"];
        let text: String = (0..self.random.usize(0..8)).map(|_| self.pick(&pieces)).collect();
        let hashed = Value::from(text.as_str()).to_string();
        let sent = match self.random.u8(0..8) {
            0 => {
                let units = text.encode_utf16().map(|unit| format!("\\u{unit:04X}"));
                format!("\"{}\"", units.collect::<String>())
            }
            1 => hashed.replace('/', "\\/"),
            _ => hashed.clone(),
        };
        Text { hashed, sent }
    }

    fn tags(&mut self, author: &Author, kind: &str) -> Text {
        match self.random.u8(..) {
            0 => return Text::same(self.pick(&["null", "{}", "\"\"", "[\"t\"]", "[[]]", "[{}]"])),
            1 => {
                let count = self.random.usize(1_999..=2_002);
                return Text::same(format!("[{}]", vec!["[\"t\"]"; count].join(",")));
            }
            _ => {}
        }
        let tags: Vec<Text> =
            (0..self.random.usize(0..4)).map(|_| self.tag(author, kind)).collect();
        self.list(&tags)
    }

    fn list(&mut self, items: &[Text]) -> Text {
        let join = |text: fn(&Text) -> &str, comma: &str| {
            format!("[{}]", items.iter().map(text).collect::<Vec<_>>().join(comma))
        };
        let comma = if self.random.u8(..) < 20 { " , " } else { "," };
        Text { hashed: join(|it| &it.hashed, ","), sent: join(|it| &it.sent, comma) }
    }

    fn tag(&mut self, author: &Author, kind: &str) -> Text {
        let name = |text: &str| Text::same(format!("\"{text}\""));
        let fields = match self.random.u8(0..16) {
            0 | 1 => vec![name("t"), self.string()],
            2 => vec![name(&self.pick(&["t", "title", "é", ""])), self.long_value()],
            3 | 4 => vec![name(&self.pick(&["e", "p"])), self.key(), self.string()],
            5 if kind == "5" => vec![name("a"), self.address(author)],
            6 => vec![name("expiration"), self.expiration()],
            7..=10 => vec![name("n"), self.string(), self.any_json()],
            11 => vec![self.any_json()],
            12 => vec![name("t"), self.any_json()],
            13 if self.random.u8(..) < 60 => vec![name("-")],
            14 => vec![name("d"), self.string()],
            15 if self.random.u8(..) < 30 => vec![Text::same("\"\u{7f}\""), self.string()],
            _ => vec![name("t")],
        };
        self.list(&fields)
    }

    fn long_value(&mut self) -> Text {
        let length = self.random.choice([254, 255, 256, 1_023, 1_024, 1_025]).unwrap();
        Text::same(format!("\"{}\"", "v".repeat(length)))
    }

    fn key(&mut self) -> Text {
        let digits: String = (0..64).map(|_| self.random.digit(16)).collect();
        let key = match self.random.u8(0..20) {
            0 => digits.to_uppercase(),
            1 => format!("0x{}", &digits[2..]),
            2 => format!("0x{digits}"),
            3 => digits[1..].to_owned(),
            4 => format!("g{}", &digits[1..]),
            5 => String::new(),
            _ => digits,
        };
        Text::same(format!("\"{key}\""))
    }

    fn address(&mut self, author: &Author) -> Text {
        let pubkey = author.pubkey();
        let other = Author::new(self.made + 1).pubkey();
        let kind = self.pick(&["30023", " +30023", "-1", "x", "", "99999999999999999999"]);
        let address = match self.random.u8(0..6) {
            0 => format!("30023:{other}:x"),
            1 => format!("30023:{pubkey}"),
            2 => format!("30023:{}:x", pubkey.to_string().to_uppercase()),
            3 => format!("{kind}:{pubkey}:a:b"),
            _ => format!("30023:{pubkey}:x"),
        };
        Text::same(format!("\"{address}\""))
    }

    fn expiration(&mut self) -> Text {
        let past = (self.now - 100).to_string();
        let values = [
            past.as_str(),
            "4000000000",
            "4000000000",
            "18446744073709551615",
            "18446744073709551616",
            "99",
            "100",
            "",
            "x",
            "-1",
            " 4000000000",
            "+4000000000",
        ];
        Text::same(format!("\"{}\"", self.pick(&values)))
    }

    fn any_json(&mut self) -> Text {
        match self.random.u8(0..12) {
            0 => Text::same(self.pick(&["null", "true", "false"])),
            1..=6 => Text::same(self.number()),
            7 => self.string(),
            8 => Text::same(self.pick(&[
                r#"{"a":1,"b":2}"#,
                r#"{"b":1,"a":2}"#,
                r#"{"a":1,"a":2}"#,
                r#"{"a":{"z":[1.5]},"b":"\u007f"}"#,
                r#"{"é":1,"z":2}"#,
                r#"{"":1,"a":2}"#,
            ])),
            9 => {
                let depth = self.random.choice([1, 20, 120, 130, 400]).unwrap();
                Text::same("[".repeat(depth) + &"]".repeat(depth))
            }
            10 => Text { hashed: "[1,{}]".into(), sent: "[ 1 , { } ]".into() },
            _ => Text::same(self.pick(&["1e999", "01", "+1", ".5", "nul", "1.", "--1"])),
        }
    }

    fn number(&mut self) -> String {
        match self.random.u8(0..9) {
            0 => {
                self.pick(&["-0", "-0.0", "0.0", "0", "1.0", "1.50", "1e3", "1E3", "1e21", "1e+21"])
            }
            1 => self.random.u64(..).to_string(),
            2 => self.random.i64(..).to_string(),
            3 => self.random.i128(..).to_string(),
            4 => self.random.f64().to_string(),
            5 => format!(
                "{}.{}",
                self.random.u64(..1 << 50),
                self.pick(&["25", "75", "125", "0625"])
            ),
            6 => format!("{:e}", f64::from_bits(self.random.u64(..0x7ff << 52))),
            7 => format!("{:e}", (1.0 + self.random.f64() * 30.0) * 1e-14),
            _ => format!("{}.{}", self.random.i32(..), self.random.u32(..)),
        }
    }

    fn pick(&mut self, items: &[&str]) -> String {
        (*self.random.choice(items).unwrap()).to_owned()
    }

    fn pick_number(&mut self, items: &[u64]) -> u64 {
        *self.random.choice(items).unwrap()
    }
}
