//! Why something is missing, in French. Words of peers and of the operating system stay as they are.

use crate::history::run::RunGap;

/// The reason in French; `None` if an earlier version has noted only its text, or if a later one has
/// noted a cause that is not known here.
pub(super) fn in_french(gap: &RunGap) -> Option<String> {
    let cause = gap.cause.as_ref()?;
    let number = || cause.number.unwrap_or_default();
    let words = cause.words.as_deref().filter(|words| !words.is_empty());
    let text = match cause.name.as_str() {
        "not_connected" => "connexion impossible".to_owned(),
        "dense_second" => format!(
            "la seconde {} contient plus d’événements d’un même auteur et d’un même type qu’une page",
            number()
        ),
        "ignores_filter" => "le relais répond par ce qui n’était pas demandé".to_owned(),
        "says_nothing" => "le relais dit n’avoir rien là où il a quelque chose".to_owned(),
        "after_its_end" => "le relais envoie des événements après la fin de sa réponse".to_owned(),
        "refused" => "refusé par le relais".to_owned(),
        "unanswered" => format!("une question est restée {} s sans réponse", number()),
        "no_order" => "le relais ne donne ses événements ni du plus récent au plus ancien, ni du \
                       plus ancien au plus récent"
            .to_owned(),
        "timed_out" if words.is_some() => {
            format!("rien de nouveau pendant {} s, après cet avis", number())
        }
        "timed_out" => format!("rien de nouveau pendant {} s", number()),
        "too_slow" => {
            format!("trop lent : moins de {0} nouveaux événements en {0} s", number())
        }
        "connection_lost" => "connexion perdue".to_owned(),
        "not_given" => {
            format!("événements que le relais dit avoir et qui ne sont pas venus : {}", number())
        }
        "useless" => "abandonné : il envoie sans cesse des choses inutiles".to_owned(),
        "forged" => format!(
            "événements falsifiés à chaque tentative : {} ; il manque peut-être les vrais",
            number()
        ),
        "unknown_authors" => format!(
            "abandonné : plus de {} nouveaux événements d’auteurs absents de toutes les listes de ce \
             nœud",
            number()
        ),
        "stopped" => "arrêté avant la fin".to_owned(),
        "unsettled" => {
            format!("événements qu’il a donnés et qui ne sont pas dans la base : {}", number())
        }
        "too_many_unsettled" => {
            "trop d’événements reçus ne sont pas dans la base de données".to_owned()
        }
        _ => return None,
    };
    Some(match words {
        Some(words) => format!("{text} : {words}"),
        None => text,
    })
}
