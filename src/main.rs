//! The `strfry-companion` program: see the library's `cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    strfry_companion::cli::main()
}
