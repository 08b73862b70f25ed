//! What the old script does at the end of a run beside the run itself: it starts the station's
//! report, which reads the log.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::node::NodePaths;
use crate::report::{RunLog, clean_for_log};

/// Starts `sync_report.sh` beside the script, if the node has it, and does not wait for it. It looks
/// by itself whether there is a captain to report to.
pub(super) fn start_report(paths: &NodePaths, log: &RunLog) {
    let script = paths.report_script();
    if !script.is_file() {
        return;
    }
    let mut command = Command::new(&script);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    match command.spawn() {
        Ok(_) => log.info("📤 Synchronization report queued for delivery"),
        Err(error) => {
            let why = format!("cannot start the report {}: {error}", script.display());
            log.warn(clean_for_log(&why));
        }
    }
}
