//! The stand-in for the strfry executable as a program of its own, for tests and benches.

#[path = "../tests/support/stand_in/mod.rs"]
mod stand_in;

fn main() -> std::process::ExitCode {
    stand_in::main()
}
