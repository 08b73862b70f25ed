//! The environment and what is typed; configuration files have tests of the whole program.

use super::*;
use crate::cli::{NAMES, call};

/// The options that can be set, with a value that each takes.
fn settable(command: &str) -> Vec<(String, String)> {
    let options = call::options(command);
    let settable = options.get_arguments().filter(|arg| is_settable(command, arg));
    settable
        .filter(|arg| arg.get_long() != Some(CONFIG))
        .map(|arg| {
            let value = match arg.get_action() {
                ArgAction::SetTrue => "true".to_owned(),
                _ => sample(arg),
            };
            (arg.get_long().unwrap_or_default().to_owned(), value)
        })
        .collect()
}

fn sample(arg: &Arg) -> String {
    let possible = arg.get_possible_values();
    let default =
        arg.get_default_values().first().map(|value| value.to_string_lossy().into_owned());
    let possible = possible.first().map(|value| value.get_name().to_owned());
    default.or(possible).unwrap_or_else(|| "1".to_owned())
}

fn find(command: &str, typed: &[&str], environment: &Environment) -> Settings {
    let options = call::options(command);
    let parser = call::options(command).no_binary_name(true);
    let matches = parser.try_get_matches_from(typed).unwrap();
    Settings::find(command, &options, &matches, environment).unwrap()
}

fn arguments(settings: &Settings) -> Vec<String> {
    let arguments = settings.arguments();
    arguments.iter().map(|argument| argument.to_string_lossy().into_owned()).collect()
}

/// What a command needs to be parsed.
fn positional(command: &str) -> &'static [&'static str] {
    if command == "scan" { &["{}"] } else { &[] }
}

#[test]
fn every_option_of_every_command_is_also_an_environment_variable() {
    assert_eq!(variable("max-time"), "STRFRY_COMPANION_MAX_TIME");
    for command in NAMES.iter().filter(|name| option_named(&call::options(name), CONFIG).is_some())
    {
        for (option, value) in settable(command) {
            let environment = Environment::with(&[
                ("STRFRY_COMPANION_CONFIG", "none"),
                (&variable(&option), &value),
            ]);
            let settings = find(command, positional(command), &environment);
            let given = match option_named(&call::options(command), &option).unwrap().get_action() {
                ArgAction::SetTrue => format!("--{option}"),
                _ => format!("--{option}={value}"),
            };
            let expected = vec!["--config=none".to_owned(), given];
            let mut found = arguments(&settings);
            found.sort_by_key(|argument| argument != "--config=none");
            assert_eq!(found, expected, "{command}");
        }
    }
}

#[test]
fn what_is_only_typed_is_an_option_of_some_command() {
    for (place, name, _) in ONLY_TYPED.iter().filter(|(_, name, _)| *name != "help") {
        let has = |command: &&&str| option_named(&call::options(command), name).is_some();
        let commands: Vec<&&str> = NAMES.iter().filter(has).collect();
        assert!(!commands.is_empty() && (*place == "*" || commands.contains(&place)), "{name}");
    }
}

#[test]
fn what_is_typed_wins_over_the_environment_and_over_what_contradicts_it() {
    let environment = Environment::with(&[
        ("STRFRY_COMPANION_CONFIG", "none"),
        ("STRFRY_COMPANION_DAYS", "3"),
        ("STRFRY_COMPANION_NO_FALLBACK", "yes"),
        ("STRFRY_COMPANION_NO_DMS", "0"),
        ("STRFRY_COMPANION_RELAY", " wss://a.example\nwss://b.example "),
        ("STRFRY_COMPANION_RELAYS", "wss://c.example"),
        ("STRFRY_COMPANION_IMAGE", "of somebody else"),
    ]);
    let settings =
        find("backfill", &["--days", "7", "--fallback-relay", "wss://f.example"], &environment);
    assert_eq!(
        (arguments(&settings), settings.remarks),
        (
            ["--relay=wss://a.example", "--relay=wss://b.example", "--config=none"]
                .map(str::to_owned)
                .to_vec(),
            [
                "--fallback-relay (the command line) wins over --no-fallback \
                 (STRFRY_COMPANION_NO_FALLBACK)",
                "warning: STRFRY_COMPANION_RELAYS sets nothing; did you mean STRFRY_COMPANION_RELAY?",
            ]
            .map(str::to_owned)
            .to_vec(),
        )
    );
    let days = settings.settings.iter().find(|it| it.given.option == "days").unwrap();
    assert_eq!(days.given.value, Said::Values(vec!["7".into()]));
    assert_eq!(days.over, [Origin::Environment("STRFRY_COMPANION_DAYS".to_owned())]);
}
