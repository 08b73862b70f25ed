//! Random events of every shape that matters to what strfry stores, the same ones on every run.
//!
//! Neither ids nor signatures are genuine: they are for `import --no-verify`.

use fastrand::Rng;
use serde_json::{Value, json};

/// Few of each, so that events meet: replace, tie with, delete and repeat one another.
const KINDS: [u64; 16] = [
    0,
    1,
    3,
    5,
    5,
    7,
    41,
    10_002,
    20_001,
    30_000,
    30_023,
    30_023,
    39_999,
    40_000,
    70_000,
    u64::MAX,
];
const D_TAGS: [&str; 6] = ["", "a", "b", "a:b", "é", " "];
/// Around a border of the second byte, where little-endian byte order is not the order of time.
const FIRST_SECOND: u64 = 1_790_000_000 & !0xff | 0x60;
const SECONDS: u64 = 400;

/// Makes events, and remembers whom and what they may refer to.
pub struct RandomEvents {
    random: Rng,
    authors: Vec<String>,
    ids: Vec<String>,
}

impl RandomEvents {
    /// The sequence that belongs to a seed.
    pub fn new(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let authors = (0..6).map(|_| key(&mut random)).collect();
        let ids = vec![key(&mut random)];
        Self { random, authors, ids }
    }

    /// One event.
    pub fn event(&mut self) -> Value {
        let author = self.author();
        let kind = self.pick(&KINDS);
        // Some ids are spoken of before their event comes.
        let id = if self.random.u8(..) < 8 { self.id() } else { key(&mut self.random) };
        let tags: Vec<Value> =
            (0..self.random.usize(0..5)).map(|_| self.tag(kind, &author)).collect();
        if self.random.u8(..) < 8 {
            self.ids.push(key(&mut self.random));
        }
        self.ids.push(id.clone());
        json!({
            "content": self.pick(&["", "text", "\u{7f}\u{1}\n\"\\/ é😀\u{2028}", "{\"name\":\"x\"}"]),
            "created_at": FIRST_SECOND + self.random.u64(..SECONDS),
            "id": id,
            "kind": kind,
            "pubkey": author,
            "sig": "00".repeat(64),
            "tags": tags,
        })
    }

    /// One event whose texts are of every length and character that something depends on.
    pub fn odd_event(&mut self) -> Value {
        let mut event = self.event();
        event["content"] = self.text().into();
        for _ in 0..self.random.usize(0..4) {
            let name = self.pick(&["t", "r", "d", "x", "title", "\u{1}", "é", "😀"]);
            let mut tag = vec![Value::from(name)];
            tag.extend((0..self.random.usize(0..3)).map(|_| Value::from(self.text())));
            event["tags"].as_array_mut().unwrap().push(tag.into());
        }
        event
    }

    fn text(&mut self) -> String {
        const LENGTHS: [usize; 10] = [0, 1, 2, 254, 255, 256, 257, 1_023, 1_024, 1_025];
        const WIDE: [&str; 5] = ["\u{80}", "é", "\u{2028}", "\u{fffd}", "😀"];
        let length = self.pick(&LENGTHS);
        let kind = self.random.u8(0..4);
        let mut text = String::new();
        // In bytes, which is how strfry counts.
        while text.len() < length {
            let room = length - text.len();
            match kind {
                0 => text.push(char::from(self.random.u8(b' '..0x7f))),
                1 => text.push(char::from(self.random.u8(0..0x20))),
                2 => text.push_str(self.pick(&["\"", "\\", "/", "\\u0041", "\n", "}"])),
                _ => text.push_str(self.pick(&WIDE[..if room < 4 { 2 } else { 5 }])),
            }
        }
        text
    }

    /// A filter that some of the events match.
    pub fn filter(&mut self) -> Value {
        let mut filter = json!({});
        let some = |random: &mut Rng| random.u8(..) < 100;
        if some(&mut self.random) {
            filter["authors"] = (0..3).map(|_| self.author()).collect();
        }
        if some(&mut self.random) {
            filter["kinds"] = (0..4).map(|_| self.pick(&KINDS)).collect();
        }
        if some(&mut self.random) {
            filter["#d"] = (0..3).map(|_| self.pick(&D_TAGS)).collect();
        }
        if self.random.u8(..) < 30 {
            filter["ids"] = (0..20).map(|_| self.id()).collect();
        }
        if self.random.u8(..) < 30 {
            filter["#e"] = (0..20).map(|_| self.id()).collect();
        }
        if some(&mut self.random) {
            filter["since"] = (FIRST_SECOND + self.random.u64(..SECONDS)).into();
        }
        if some(&mut self.random) {
            filter["until"] = (FIRST_SECOND + self.random.u64(..SECONDS)).into();
        }
        if some(&mut self.random) {
            filter["limit"] = self.random.u64(0..60).into();
        }
        filter
    }

    fn tag(&mut self, kind: u64, author: &str) -> Value {
        match self.random.u8(0..12) {
            0..=2 => json!(["d", self.pick(&D_TAGS)]),
            3 | 4 => json!(["e", self.id(), "wss://relay.example"]),
            5 => json!(["p", self.author().to_uppercase()]),
            6 | 7 if kind == 5 => {
                let kind = self.pick(&["30023", "30000", "39999", "0", "1", " +30023"]);
                json!(["a", format!("{kind}:{author}:{}", self.pick(&D_TAGS))])
            }
            8 => json!(["t"]),
            9 => {
                json!([self.pick(&["t", "é", "", "title"]), "v".repeat(self.pick(&[1, 255, 256]))])
            }
            10 => json!(["expiration", self.pick(&["100", "1790000000", "18446744073709551615"])]),
            _ => json!(["t", "x", 1.5e-300, -7, null, { "b": [true], "a": "\u{7f}" }]),
        }
    }

    fn author(&mut self) -> String {
        self.random.choice(&self.authors).unwrap().clone()
    }

    fn id(&mut self) -> String {
        self.random.choice(&self.ids).unwrap().clone()
    }

    fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        *self.random.choice(items).unwrap()
    }
}

fn key(random: &mut Rng) -> String {
    hex::encode(std::array::from_fn::<u8, 32, _>(|_| random.u8(..)))
}
