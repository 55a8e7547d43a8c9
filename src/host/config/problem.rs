//! What is wrong with a configuration, said so that a person can mend it.

use std::{fmt, path::PathBuf};

/// Something wrong in the configuration. It costs the token it names, or the file, never more.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// The file it stands in.
    pub file: PathBuf,
    /// The line, counted from 1, if it is about one.
    pub line: Option<usize>,
    /// The token that it costs, if it is known by name.
    pub token: Option<String>,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}", self.message)
    }
}
