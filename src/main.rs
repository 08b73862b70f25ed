//! The `strfry-companion` program.

fn main() {}
