//! Colours of a terminal.

/// A colour, as the terminal's own palette has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Color {
    /// It went well.
    Green,
    /// Something is missing.
    Yellow,
    /// It went wrong.
    Red,
}

impl Color {
    /// The text in this colour (ECMA-48, 8.3.117).
    pub fn paint(self, text: &str) -> String {
        let number = match self {
            Self::Green => 32,
            Self::Yellow => 33,
            Self::Red => 31,
        };
        format!("\u{1b}[{number}m{text}\u{1b}[0m")
    }
}
