//! The words of the page in the languages that it speaks.

use super::reasons;
use crate::backfill::{PeerStatus, Status};
use crate::history::run::RunGap;

/// A language of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// `en`
    English,
    /// `fr`
    French,
}

/// Fixed texts.
pub(super) struct Words {
    pub(super) lang: &'static str,
    pub(super) thousands: &'static str,
    pub(super) point: &'static str,
    /// Short for bytes, thousand, million and more of them.
    pub(super) units: [&'static str; 3],
    pub(super) colon: &'static str,
    pub(super) title: &'static str,
    pub(super) complete: &'static str,
    pub(super) incomplete_status: &'static str,
    pub(super) failed: &'static str,
    pub(super) incomplete: &'static str,
    pub(super) more: &'static str,
    pub(super) peers: &'static str,
    pub(super) peer: &'static str,
    pub(super) fallback: &'static str,
    pub(super) status: &'static str,
    pub(super) received: &'static str,
    pub(super) imported: &'static str,
    pub(super) took: &'static str,
    pub(super) kinds: &'static str,
    pub(super) kind: &'static str,
    pub(super) other_kinds: &'static str,
    pub(super) nothing: &'static str,
    pub(super) classes: &'static str,
    pub(super) refused: &'static str,
    pub(super) profiles: &'static str,
    pub(super) found: &'static str,
    pub(super) recovered: &'static str,
    pub(super) missing: &'static str,
    pub(super) missing_pubkeys: &'static str,
    pub(super) durations: &'static str,
    pub(super) days: &'static str,
    pub(super) earlier: &'static str,
    pub(super) by_run: &'static str,
    pub(super) duration_by_run: &'static str,
    pub(super) missing_by_run: &'static str,
    pub(super) most: &'static str,
    pub(super) runs: &'static str,
    pub(super) began: &'static str,
    pub(super) skipped: &'static str,
    pub(super) memory: &'static str,
    pub(super) new_events: &'static str,
    pub(super) peers_complete: &'static str,
}

const ENGLISH: Words = Words {
    lang: "en",
    thousands: ",",
    point: ".",
    units: ["kB", "MB", "GB"],
    colon: ":",
    title: "Backfill",
    complete: "complete",
    incomplete_status: "incomplete",
    failed: "failed",
    incomplete: "What is incomplete, and why",
    more: "And more:",
    peers: "Peers",
    peer: "Peer",
    fallback: "Relays asked for missing profiles",
    status: "Status",
    received: "Received",
    imported: "Imported",
    took: "Time",
    kinds: "Imported events by kind",
    kind: "Kind",
    other_kinds: "Other kinds",
    nothing: "No new events.",
    classes: "What became of the events",
    refused: "Why events were refused",
    profiles: "Profiles",
    found: "Found",
    recovered: "Recovered in this run",
    missing: "Missing",
    missing_pubkeys: "Pubkeys without a profile",
    durations: "Time that the run took",
    days: "Imported events by the day they are dated",
    earlier: "Dated earlier:",
    by_run: "Imported events by run",
    duration_by_run: "Time by run",
    missing_by_run: "Missing profiles by run",
    most: "Highest:",
    runs: "Runs",
    began: "Start",
    skipped: "Damaged lines of the history that were skipped:",
    memory: "memory",
    new_events: "New events",
    peers_complete: "Complete peers",
};

const FRENCH: Words = Words {
    lang: "fr",
    thousands: "\u{202f}",
    point: ",",
    units: ["ko", "Mo", "Go"],
    colon: "\u{a0}:",
    title: "Rattrapage",
    complete: "complet",
    incomplete_status: "incomplet",
    failed: "échoué",
    incomplete: "Ce qui est incomplet, et pourquoi",
    more: "Et encore\u{a0}:",
    peers: "Pairs",
    peer: "Pair",
    fallback: "Relais interrogés pour les profils manquants",
    status: "État",
    received: "Reçus",
    imported: "Importés",
    took: "Durée",
    kinds: "Événements importés par type (kind)",
    kind: "Type",
    other_kinds: "Autres types",
    nothing: "Aucun nouvel événement.",
    classes: "Ce que sont devenus les événements",
    refused: "Pourquoi des événements ont été refusés",
    profiles: "Profils",
    found: "Trouvés",
    recovered: "Récupérés par ce passage",
    missing: "Manquants",
    missing_pubkeys: "Clés publiques sans profil",
    durations: "Durée du passage",
    days: "Événements importés par jour de leur date",
    earlier: "Datés d’avant\u{a0}:",
    by_run: "Événements importés par passage",
    duration_by_run: "Durée par passage",
    missing_by_run: "Profils manquants par passage",
    most: "Maximum\u{a0}:",
    runs: "Passages",
    began: "Début",
    skipped: "Lignes endommagées de l’historique, ignorées\u{a0}:",
    memory: "de mémoire",
    new_events: "Nouveaux événements",
    peers_complete: "Pairs complets",
};

impl Language {
    pub(super) const fn words(self) -> &'static Words {
        match self {
            Self::English => &ENGLISH,
            Self::French => &FRENCH,
        }
    }

    /// What happened.
    pub(super) fn sentence(self, told: &Told) -> String {
        let Told { status, imported, peers, owing, took, recovered, missing } = told;
        match self {
            Self::English => {
                let events = if *imported == "1" { "event" } else { "events" };
                let of_peers = if *peers == 1 { "peer" } else { "peers" };
                let end = match status {
                    Status::Complete => "Every peer gave all that was asked.".to_owned(),
                    Status::Failed => {
                        "The import failed; the next run asks for the rest.".to_owned()
                    }
                    Status::Incomplete if *owing == 0 => {
                        "Something went wrong beside the peers.".to_owned()
                    }
                    Status::Incomplete => format!(
                        "{owing} of {peers} {of_peers} did not give all that was asked; the next run asks \
                         for the rest."
                    ),
                };
                format!(
                    "In {took} the run brought {imported} new {events} into the database. {end} \
                     Profiles: {recovered} recovered, {missing} still missing."
                )
            }
            Self::French => {
                let events =
                    if *imported == "1" { "nouvel événement" } else { "nouveaux événements" };
                let end = match status {
                    Status::Complete => "Chaque pair a donné tout ce qui était demandé.".to_owned(),
                    Status::Failed => {
                        "L’importation a échoué\u{a0}; le prochain passage demandera le reste."
                            .to_owned()
                    }
                    Status::Incomplete if *owing == 0 => {
                        "Un problème est survenu en dehors des pairs.".to_owned()
                    }
                    Status::Incomplete => {
                        let (pairs, have) =
                            if *owing == 1 { ("pair", "a") } else { ("pairs", "ont") };
                        format!(
                            "{owing} {pairs} sur {peers} n’{have} pas donné tout ce qui était demandé\u{a0}; le \
                             prochain passage demandera le reste."
                        )
                    }
                };
                format!(
                    "En {took}, le passage a apporté {imported} {events} dans la base de données. {end} \
                     Profils\u{a0}: {recovered} récupérés, {missing} encore manquants."
                )
            }
        }
    }

    /// The class of events that a summary names so.
    pub(super) fn class(self, name: &str) -> String {
        let french = match (self, name) {
            (Self::French, "imported") => "importés",
            (Self::French, "already_present") => "déjà présents",
            (Self::French, "duplicate") => "en double",
            (Self::French, "superseded") => "remplacés par un plus récent",
            (Self::French, "deleted") => "supprimés par leur auteur",
            (Self::French, "expired") => "expirés",
            (Self::French, "too_new") => "datés du futur",
            (Self::French, "rejected") => "refusés par strfry",
            (Self::French, "not_confirmed") => "non confirmés",
            (Self::French, "malformed") => "mal formés",
            (Self::French, "oversize") => "trop grands",
            (Self::French, "bad_id") => "identifiant faux",
            (Self::French, "bad_signature") => "signature fausse",
            (Self::French, "unasked") => "non demandés",
            (Self::French, "blacklisted") => "auteur sur liste noire",
            (Self::French, "ephemeral") => "éphémères",
            (Self::French, "greeting") => "salutations d’un robot",
            (Self::French, "dropped") => "abandonnés à l’arrêt",
            _ => return name.replace('_', " "),
        };
        french.to_owned()
    }

    /// Why something is missing.
    pub(super) fn reason(self, gap: &RunGap) -> String {
        let french = match self {
            Self::English => None,
            Self::French => reasons::in_french(gap),
        };
        french.unwrap_or_else(|| gap.reason.clone())
    }

    /// The part of a run that a summary names so.
    pub(super) fn phase(self, name: &str) -> &str {
        match (self, name) {
            (Self::French, "Asking peers") => "Questions aux pairs",
            (Self::French, "Authors' relays") => "Relais des auteurs",
            (Self::French, "Public relays") => "Relais publics",
            (Self::French, "Importing") => "Importation",
            (Self::French, "Profiles") => "Profils",
            _ => name,
        }
    }
}

/// What the sentence tells; numbers as the page writes them.
pub(super) struct Told {
    pub(super) status: Status,
    pub(super) imported: String,
    pub(super) peers: usize,
    pub(super) owing: usize,
    pub(super) took: String,
    pub(super) recovered: String,
    pub(super) missing: String,
}

/// How something went: its word, and its class in the style sheet.
pub(super) struct StatusWord {
    pub(super) class: &'static str,
    pub(super) word: &'static str,
}

impl Words {
    pub(super) const fn status(&self, status: Status) -> StatusWord {
        match status {
            Status::Complete => StatusWord { class: "complete", word: self.complete },
            Status::Incomplete => StatusWord { class: "incomplete", word: self.incomplete_status },
            Status::Failed => StatusWord { class: "failed", word: self.failed },
        }
    }

    pub(super) const fn peer_status(&self, status: PeerStatus) -> StatusWord {
        self.status(match status {
            PeerStatus::Complete => Status::Complete,
            PeerStatus::Incomplete => Status::Incomplete,
            PeerStatus::Failed => Status::Failed,
        })
    }

    /// With marks between thousands.
    pub(super) fn number(&self, number: u64) -> String {
        let digits = number.to_string();
        let mut text = String::new();
        for (position, digit) in digits.chars().enumerate() {
            if position > 0 && (digits.len() - position).is_multiple_of(3) {
                text.push_str(self.thousands);
            }
            text.push(digit);
        }
        text
    }

    /// A time of so many seconds.
    pub(super) fn duration(&self, seconds: f64) -> String {
        if seconds < 600.0 {
            return format!("{seconds:.1} s").replace('.', self.point);
        }
        // Too many seconds for the type are as many as it holds.
        let minutes = (seconds / 60.0) as u64;
        match minutes {
            0..120 => format!("{minutes} min"),
            _ => format!("{} h {:02} min", self.number(minutes / 60), minutes % 60),
        }
    }

    /// So many bytes.
    pub(super) fn bytes(&self, bytes: u64) -> String {
        let [kilo, mega, giga] = self.units;
        let (unit, size) = match bytes {
            0..1_000_000 => (kilo, 1e3),
            1_000_000..1_000_000_000 => (mega, 1e6),
            _ => (giga, 1e9),
        };
        format!("{:.1} {unit}", bytes as f64 / size).replace('.', self.point)
    }
}
