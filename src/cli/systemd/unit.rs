//! The service and the timer, as systemd.service(5), systemd.exec(5) and systemd.syntax(7) want them.

use std::fmt::Write;

use anyhow::anyhow;

use super::deployment::Deployment;
use super::{MOST_MEMORY_MIB, OPEN_FILES, SECONDS_TO_STOP};
use crate::cli::exit::{Failure, Result};

pub(super) const TIMER: &str = "\
# /etc/systemd/system/strfry-companion.timer

[Unit]
Description=Every hour: what strfry lacks, from peer relays

[Timer]
OnCalendar=hourly
# So that not all nodes ask at the same moment.
RandomizedDelaySec=10min
# A run that was missed, because the machine was off, is made up for.
Persistent=yes

[Install]
WantedBy=timers.target
";

const HEAD: &str = "\
# /etc/systemd/system/strfry-companion.service, beside strfry-companion.timer; then
#   systemctl daemon-reload && systemctl enable --now strfry-companion.timer
";

const RUN: &str = "
[Unit]
Description=Fetch what strfry lacks from peer relays
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
";

const CODES: &str = "\
# 1 says that the run finished, but a peer did not give everything, or a file was not written. The
# journal says why, and the next run asks for the rest. 2 and 3 are failures: see the manual.
SuccessExitStatus=1
";

const HARDENED: &str = "
# It needs the network, and writes where ReadWritePaths= says.
NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=strict
ProtectHome=read-only
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
# Netlink: how the C library finds out which kinds of addresses this machine has.
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
# Left out: PrivatePIDs=, for LMDB tells readers apart by their PIDs (the program would read without
# strfry's lock file), and PrivateUsers=, for files of root would look like a stranger's.
";

/// The service.
pub(super) fn service(deployment: &Deployment) -> Result<String> {
    // `string_is_safe` in systemd's string-util.c.
    if deployment.program.contains(['"', '\'', '\\']) {
        return Err(Failure::Usage(anyhow!(
            "systemd starts no program with a quote or a backslash in its path: put {} elsewhere",
            deployment.program
        )));
    }
    let mut text = HEAD.to_owned();
    // Writing to a String cannot fail.
    if !deployment.missing.is_empty() {
        text.push_str("# First make what is not there yet:\n");
    }
    for directory in &deployment.missing {
        let _ = writeln!(
            text,
            "#   install -d -o {} -m 700 '{}'",
            deployment.user.name,
            directory.replace('\'', "'\\''")
        );
    }
    let _ = writeln!(text, "{RUN}User={}", deployment.user.name);
    for (name, value) in &deployment.environment {
        let _ = writeln!(text, "Environment={}", word(&format!("{name}={value}")));
    }
    let _ = writeln!(text, "ExecStart={}", command(deployment));
    text.push_str(CODES);
    let _ = write!(
        text,
        "# The first signal goes to the program alone, which ends strfry in an orderly way, within 10 s.\n\
         KillMode=mixed\n\
         TimeoutStopSec={SECONDS_TO_STOP}\n\
         Nice=10\n\
         MemoryMax={MOST_MEMORY_MIB}M\n\
         # What strfry asks for (relay.nofiles), also to import.\n\
         LimitNOFILE={OPEN_FILES}\n\
         {HARDENED}"
    );
    if deployment.is_temporary() {
        text.push_str(
            "# Nor PrivateTmp=: something of this run is in a directory that it would hide.\n",
        );
    } else {
        text.push_str("PrivateTmp=yes\n");
    }
    for directory in &deployment.written {
        let _ = writeln!(text, "ReadWritePaths={}", word(directory));
    }
    Ok(text)
}

/// The command, an option on each line.
fn command(deployment: &Deployment) -> String {
    let options: Vec<String> = deployment.options.iter().map(|option| word(option)).collect();
    let mut text = format!("{} backfill", word(&deployment.program));
    // Without the colon, systemd would put variables in.
    if text.contains('$') || options.iter().any(|option| option.contains('$')) {
        text.insert(0, ':');
    }
    for option in options {
        text.push_str(" \\\n    ");
        text.push_str(&option);
    }
    text
}

/// A word as systemd reads it, which puts specifiers in place of `%`.
fn word(text: &str) -> String {
    let text = text.replace('%', "%%");
    let is_plain = |it: char| it.is_ascii_alphanumeric() || "%_@+=:,./-".contains(it);
    if text.chars().all(is_plain) {
        return text;
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::super::deployment::User;
    use super::*;

    fn deployment() -> Deployment {
        Deployment {
            program: "/usr/bin/strfry-companion".to_owned(),
            options: ["--days=1", "--home=/home/astro/.zen"].map(str::to_owned).to_vec(),
            options_in_image: Err("not asked for"),
            names_strfry: false,
            environment: vec![("IPFSNODEID".to_owned(), "12D3KooW".to_owned())],
            user: User { name: "astro".to_owned(), uid: 1000, gid: 1000 },
            caller_home: None,
            written: vec![
                "/home/astro/.zen/strfry".to_owned(),
                "/home/astro/.zen/tmp/coucou".to_owned(),
            ],
            missing: Vec::new(),
            read: Vec::new(),
        }
    }

    #[test]
    fn the_service_of_a_node_has_no_more_rights_than_it_needs() {
        let expected = "\
# /etc/systemd/system/strfry-companion.service, beside strfry-companion.timer; then
#   systemctl daemon-reload && systemctl enable --now strfry-companion.timer

[Unit]
Description=Fetch what strfry lacks from peer relays
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
User=astro
Environment=IPFSNODEID=12D3KooW
ExecStart=/usr/bin/strfry-companion backfill \\
    --days=1 \\
    --home=/home/astro/.zen
# 1 says that the run finished, but a peer did not give everything, or a file was not written. The
# journal says why, and the next run asks for the rest. 2 and 3 are failures: see the manual.
SuccessExitStatus=1
# The first signal goes to the program alone, which ends strfry in an orderly way, within 10 s.
KillMode=mixed
TimeoutStopSec=15
Nice=10
MemoryMax=512M
# What strfry asks for (relay.nofiles), also to import.
LimitNOFILE=1000000

# It needs the network, and writes where ReadWritePaths= says.
NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=strict
ProtectHome=read-only
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
# Netlink: how the C library finds out which kinds of addresses this machine has.
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
# Left out: PrivatePIDs=, for LMDB tells readers apart by their PIDs (the program would read without
# strfry's lock file), and PrivateUsers=, for files of root would look like a stranger's.
PrivateTmp=yes
ReadWritePaths=/home/astro/.zen/strfry
ReadWritePaths=/home/astro/.zen/tmp/coucou
";
        assert_eq!(service(&deployment()).unwrap(), expected);
    }

    #[test]
    fn what_is_not_there_yet_is_named_with_the_command_that_makes_it() {
        let missing = vec!["/home/astro/it's".to_owned()];
        let text = service(&Deployment { missing, ..deployment() }).unwrap();
        let head = text.split_once("\n\n").unwrap().0.split_once("strfry-companion.timer\n# First");
        assert_eq!(
            head.unwrap().1,
            " make what is not there yet:\n#   install -d -o astro -m 700 '/home/astro/it'\\''s'"
        );
    }

    #[test]
    fn files_for_everybody_are_not_hidden_from_a_run_that_has_some() {
        let written = vec!["/tmp/relay".to_owned()];
        let text = service(&Deployment { written, ..deployment() }).unwrap();
        assert!(text.contains("\n# Nor PrivateTmp=:") && !text.contains("\nPrivateTmp="), "{text}");
    }
}
