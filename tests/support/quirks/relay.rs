//! What a relay makes of each message.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::time::Duration;

use negentropy::{Id, Negentropy, NegentropyStorageVector};
use serde_json::{Value, json};

use super::{
    Act, Archive, Challenge, Comparing, Login, Quirks, Refusal, Rule, Stored, TooMuch, Verdict,
    notice, say,
};

/// A relay; what it remembers is the same for all connections.
#[derive(Debug, Clone)]
pub struct Relay {
    pub quirks: Quirks,
    pub archive: Archive,
    rng: fastrand::Rng,
    /// REQs that it has heard.
    questions: usize,
}

/// What a relay remembers of one connection.
#[derive(Default)]
pub struct Conversation {
    pub is_known: bool,
    /// Different challenges that it has sent; the latest is valid.
    challenges: usize,
    /// Answers to challenges that it has heard.
    answers: usize,
    open: BTreeSet<String>,
    comparisons: HashMap<String, Negentropy<'static, NegentropyStorageVector>>,
    /// Events that it has sent.
    given: usize,
}

impl fmt::Debug for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Conversation({} open, {} given)", self.open.len(), self.given)
    }
}

impl Relay {
    pub fn new(quirks: Quirks, archive: Archive, seed: u64) -> Self {
        Self { quirks, archive, rng: fastrand::Rng::with_seed(seed), questions: 0 }
    }

    /// What it says when somebody has connected.
    pub fn greet(&mut self, conversation: &mut Conversation) -> Vec<Act> {
        let challenge = self.quirks.login.map(|login| login.challenge);
        match challenge {
            Some(Challenge::AtConnect | Challenge::Again) => vec![conversation.challenge()],
            _ => Vec::new(),
        }
    }

    /// What it does about a message.
    pub fn hear(&mut self, conversation: &mut Conversation, text: &str) -> Vec<Act> {
        let Ok(Value::Array(message)) = serde_json::from_str::<Value>(text) else {
            return vec![notice("ERROR: bad msg: not an array")];
        };
        let subscription = message.get(1).and_then(Value::as_str).unwrap_or_default();
        let acts = match message.first().and_then(Value::as_str) {
            Some("REQ") => {
                let filters = message.get(2..).unwrap_or_default();
                self.answer(conversation, subscription, filters, text.len())
            }
            Some("CLOSE") => {
                conversation.open.remove(subscription);
                Vec::new()
            }
            Some("AUTH") => self.judge(conversation, &message[1]),
            Some("NEG-CLOSE") => {
                conversation.comparisons.remove(subscription);
                Vec::new()
            }
            Some("NEG-OPEN" | "NEG-MSG") => self.compare(conversation, subscription, &message),
            _ => vec![notice("ERROR: bad msg: unknown cmd")],
        };
        self.worded(acts)
    }

    /// Everything that it gives to small questions: one author, one kind, one second, or a second
    /// more on either side, with a small limit.
    pub fn reachable(&self, is_known: bool) -> BTreeSet<String> {
        let mut relay = self.clone();
        // Its first questions are over.
        relay.questions = 1_000;
        let mut reached = BTreeSet::new();
        for Stored { pubkey, kind, created_at, .. } in self.archive.events() {
            for (around, limit) in [(0, 1), (0, 20), (1, 20), (0, 100), (0, 500)] {
                let filter = json!({
                    "authors": [pubkey], "kinds": [kind], "limit": limit,
                    "since": created_at.saturating_sub(around), "until": created_at + around,
                });
                let mut conversation = Conversation { is_known, ..Conversation::default() };
                let question = json!(["REQ", "small", filter]).to_string();
                let acts = relay.hear(&mut conversation, &question);
                reached.extend(acts.iter().filter_map(|act| {
                    let (Act::Say(text) | Act::SayInBinary(text)) = act else { return None };
                    let message: Value = serde_json::from_str(text).ok()?;
                    message.get(2)?["id"].as_str().map(str::to_owned)
                }));
            }
        }
        reached
    }

    fn answer(
        &mut self,
        conversation: &mut Conversation,
        subscription: &str,
        filters: &[Value],
        bytes: usize,
    ) -> Vec<Act> {
        self.questions += 1;
        let speech = self.quirks.speech;
        let mut acts = Vec::new();
        if speech.keeps_alive {
            let junk = ["", "ping", r#"{"type":"keepalive"}"#, "null", "[]", r#"["PING"]"#, " "];
            acts.extend(junk.map(|text| Act::Say(text.to_owned())));
        }
        if speech.ends_others {
            acts.extend(["", "nobody", "0"].map(|other| say(json!(["EOSE", other]))));
        }
        if let Some(refusal) = self.ask_who(conversation, subscription, filters, false) {
            return [acts, refusal].concat();
        }
        let mut heeded: Vec<&Value> = filters.iter().collect();
        if self.quirks.heeds_the_first_filter_only {
            heeded.truncate(1);
        }
        if let Some(how) = self.refusal_of_all(conversation, filters, bytes) {
            return [acts, how.acts(subscription, false)].concat();
        }
        for rule in self.quirks.refuses.clone() {
            let (bad, good): (Vec<&Value>, Vec<&Value>) =
                heeded.iter().partition(|filter| self.breaks(rule.what, filter));
            match rule.how {
                _ if bad.is_empty() => {}
                Refusal::NoticeAndEnd(text) => acts.extend(bad.iter().map(|_| notice(text))),
                how => return [acts, how.acts(subscription, false)].concat(),
            }
            heeded = good;
        }
        let withholds = self.quirks.withholds.filter(|_| !conversation.is_known);
        if let Some(how) = withholds.and_then(|it| it.how)
            && heeded.iter().any(|filter| wants_any(filter, withholds.map_or(&[], |it| it.kinds)))
        {
            return [acts, how.acts(subscription, false)].concat();
        }
        let withheld = withholds.map_or(&[][..], |it| it.kinds);
        let mut events: Vec<&Stored> = Vec::new();
        for filter in heeded {
            let page = self.archive.page(filter, &self.quirks, &mut self.rng);
            for event in page {
                if !withheld.contains(&event.kind) && !events.contains(&event) {
                    events.push(event);
                }
            }
        }
        if self.quirks.caps_all_filters_together {
            events.truncate(self.quirks.cap);
        }
        conversation.open.insert(subscription.to_owned());
        let end = say(json!(["EOSE", subscription]));
        if speech.ends_first {
            acts.extend([end.clone(), Act::Wait(Duration::from_millis(20))]);
        }
        for event in events {
            acts.extend(speech.pause.map(Act::Wait));
            acts.push(say_event(subscription, event, speech.embellishes));
            conversation.given += 1;
            if speech.cuts_after.is_some_and(|most| conversation.given >= most) {
                acts.push(Act::Cut);
                return acts;
            }
        }
        let closed = || say(json!(["CLOSED", subscription, ""]));
        match speech {
            _ if speech.ends_first => {}
            _ if speech.closes_in_place_of_the_end => acts.push(closed()),
            _ if speech.closes_after_the_end => acts.extend([end, closed()]),
            _ if speech.ends_twice => acts.extend([end.clone(), end]),
            _ => acts.push(end),
        }
        acts
    }

    /// What is said to somebody who has to say who they are; `None`: they have not.
    fn ask_who(
        &mut self,
        conversation: &mut Conversation,
        subscription: &str,
        filters: &[Value],
        compares: bool,
    ) -> Option<Vec<Act>> {
        let login = self.quirks.login.filter(|_| !conversation.is_known)?;
        let is_guarded = |filter: &Value| login.guards.is_none_or(|kinds| wants_any(filter, kinds));
        if !filters.iter().any(is_guarded) {
            return None;
        }
        let refusal = login.refusal.acts(subscription, compares);
        Some(match login.challenge {
            Challenge::AtConnect | Challenge::Never => refusal,
            Challenge::BeforeRefusal => [vec![conversation.challenge()], refusal].concat(),
            Challenge::Again => [vec![conversation.renew_challenge()], refusal].concat(),
            Challenge::AfterRefusal => [refusal, vec![conversation.challenge()]].concat(),
            Challenge::LongAfterRefusal => {
                let pause = Act::Wait(Duration::from_millis(150));
                [refusal, vec![pause, conversation.challenge()]].concat()
            }
            Challenge::InsteadOfRefusal => vec![conversation.challenge()],
        })
    }

    /// What the relay makes of the answer to a challenge.
    fn judge(&mut self, conversation: &mut Conversation, event: &Value) -> Vec<Act> {
        let ok = |accepted: bool, text: &str| say(json!(["OK", event["id"], accepted, text]));
        let Some(Login { verdict, .. }) = self.quirks.login else {
            return vec![ok(false, "error: nobody has asked")];
        };
        conversation.answers += 1;
        let latest = format!("challenge {}", conversation.challenges);
        let tags = event["tags"].as_array().map(Vec::as_slice).unwrap_or_default();
        let is_answer = event["kind"] == 22_242 && tags.contains(&json!(["challenge", latest]));
        if !is_answer {
            return vec![ok(false, "auth-required: not the answer to the latest challenge")];
        }
        match verdict {
            Verdict::Rejects(text) => vec![ok(false, text)],
            Verdict::RejectsTheFirst if conversation.answers == 1 => {
                let refused = ok(false, "auth-required: the challenge has expired");
                vec![refused, conversation.renew_challenge()]
            }
            Verdict::AcceptsInSilence => {
                conversation.is_known = true;
                Vec::new()
            }
            Verdict::Accepts | Verdict::RejectsTheFirst => {
                conversation.is_known = true;
                vec![ok(true, "")]
            }
        }
    }

    fn compare(
        &mut self,
        conversation: &mut Conversation,
        subscription: &str,
        message: &[Value],
    ) -> Vec<Act> {
        let more = match self.quirks.comparing {
            Comparing::Refuses(how) => return how.acts(subscription, true),
            Comparing::EmptySet if message[0] == "NEG-OPEN" => {
                return vec![say(json!(["NEG-MSG", subscription, "6100000200"]))];
            }
            Comparing::EmptySet => return Vec::new(),
            Comparing::NamesMore(count) => count,
            Comparing::Works => 0,
        };
        let is_first = message[0] == "NEG-OPEN";
        if is_first {
            let filter = &message[2];
            let filters = std::slice::from_ref(filter);
            if let Some(refusal) = self.ask_who(conversation, subscription, filters, true) {
                return refusal;
            }
            let broken = self.quirks.refuses.iter().find(|rule| {
                !matches!(rule.what, TooMuch::Limit(_)) && self.breaks(rule.what, filter)
            });
            if let Some(rule) = broken {
                return rule.how.acts(subscription, true);
            }
            let withholds = self.quirks.withholds.filter(|_| !conversation.is_known);
            let hidden = withholds.filter(|it| !it.names_them).map_or(&[][..], |it| it.kinds);
            if let Some(how) = withholds.filter(|it| !it.names_them).and_then(|it| it.how)
                && wants_any(filter, hidden)
            {
                return how.acts(subscription, true);
            }
            let matching = self.archive.matching(filter, &self.quirks);
            let shown = matching.into_iter().filter(|event| !hidden.contains(&event.kind));
            let mut storage = NegentropyStorageVector::new();
            for event in shown {
                let mut id = [0; 32];
                hex::decode_to_slice(&event.id, &mut id).unwrap();
                storage.insert(event.created_at, Id::from_byte_array(id)).unwrap();
            }
            for number in 0..more {
                let id = Id::from_byte_array([number as u8 ^ 0xa5; 32]);
                storage.insert(1_700_000_000 + number as u64, id).unwrap();
            }
            storage.seal().unwrap();
            let side = Negentropy::owned(storage, 60_000).unwrap();
            conversation.comparisons.insert(subscription.to_owned(), side);
        }
        let payload = message[if is_first { 3 } else { 2 }].as_str().unwrap_or_default();
        let side = conversation.comparisons.get_mut(subscription);
        let round = side.and_then(|side| side.reconcile(&hex::decode(payload).ok()?).ok());
        match round {
            Some(round) => vec![say(json!(["NEG-MSG", subscription, hex::encode(round)]))],
            None => {
                vec![say(json!(["NEG-ERR", subscription, "closed: unknown subscription handle"]))]
            }
        }
    }

    /// How it refuses a REQ whatever its filters are.
    fn refusal_of_all(
        &self,
        conversation: &Conversation,
        filters: &[Value],
        bytes: usize,
    ) -> Option<Refusal> {
        let is_broken = |rule: &&Rule| match rule.what {
            TooMuch::Filters(most) => filters.len() > most,
            TooMuch::Open(most) => conversation.open.len() >= most,
            TooMuch::First(count) => self.questions <= count,
            TooMuch::Every(number) => self.questions.is_multiple_of(number),
            TooMuch::Bytes(most) => bytes > most,
            _ => false,
        };
        self.quirks.refuses.iter().find(is_broken).map(|rule| rule.how)
    }

    /// Whether a filter asks for too much.
    fn breaks(&self, what: TooMuch, filter: &Value) -> bool {
        let length = |list: &str| filter[list].as_array().map_or(0, Vec::len);
        let kinds = || filter["kinds"].as_array().into_iter().flatten().filter_map(Value::as_u64);
        match what {
            TooMuch::Kinds(most) => length("kinds") > most,
            TooMuch::Authors(most) => length("authors") > most,
            TooMuch::Ids(most) => length("ids") > most,
            TooMuch::Limit(most) => filter["limit"].as_u64().is_none_or(|limit| limit > most),
            TooMuch::Span(most) => {
                let until = filter["until"].as_u64().unwrap_or(u64::MAX);
                filter["ids"].is_null()
                    && until - filter["since"].as_u64().unwrap_or(0).min(until) > most
            }
            TooMuch::Matches(most) => self.archive.matching(filter, &self.quirks).len() > most,
            TooMuch::Kind(refused) => kinds().any(|kind| kind == refused),
            TooMuch::KindFrom(first) => kinds().any(|kind| kind >= first),
            TooMuch::Filters(_)
            | TooMuch::Open(_)
            | TooMuch::First(_)
            | TooMuch::Every(_)
            | TooMuch::Bytes(_) => false,
        }
    }

    fn worded(&self, acts: Vec<Act>) -> Vec<Act> {
        let in_binary = self.quirks.speech.in_binary;
        let shouts = self.quirks.speech.shouts;
        let word = |act| match act {
            Act::Say(text) if shouts => Act::Say(shouted(&text)),
            Act::Say(text) if in_binary => Act::SayInBinary(text),
            act => act,
        };
        acts.into_iter().map(word).collect()
    }
}

impl Conversation {
    /// The challenge of this connection.
    fn challenge(&mut self) -> Act {
        self.challenges = self.challenges.max(1);
        say(json!(["AUTH", format!("challenge {}", self.challenges)]))
    }

    /// A newer challenge.
    fn renew_challenge(&mut self) -> Act {
        self.challenges += 1;
        say(json!(["AUTH", format!("challenge {}", self.challenges)]))
    }
}

/// Whether a filter asks for one of these kinds by name.
fn wants_any(filter: &Value, kinds: &[u64]) -> bool {
    let asked = filter["kinds"].as_array().into_iter().flatten().filter_map(Value::as_u64);
    asked.into_iter().any(|kind| kinds.contains(&kind))
}

fn say_event(subscription: &str, event: &Stored, embellishes: bool) -> Act {
    let name = Value::from(subscription);
    Act::Say(match event.line.strip_suffix('}') {
        Some(start) if embellishes => {
            format!("[ \"EVENT\" , {name} ,\n{start}, \"seen_on\": [\"wss://else.example\"] }} ]\n")
        }
        _ => format!("[\"EVENT\",{name},{}]", event.line),
    })
}

/// The message with its subscription in upper case.
fn shouted(text: &str) -> String {
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Array(mut message)) if message.len() > 1 && message[0] != "AUTH" => {
            if let Some(subscription) = message[1].as_str() {
                message[1] = subscription.to_uppercase().into();
            }
            Value::Array(message).to_string()
        }
        _ => text.to_owned(),
    }
}
