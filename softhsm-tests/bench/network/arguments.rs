//! The command line.

use std::path::PathBuf;

/// What `--help` prints.
pub(crate) const USAGE: &str = "\
usage: softhsm-tests/bench.sh network [--quick] [--json FILE]

Measures tokens whose keys are in a service (AWS KMS, CSC API) beside a client that does nothing but send and receive, in turns and
with the same requests, prints a table and writes the figures as JSON. It is no test: its exit status says nothing about speed.

  --quick         fewer and shorter rounds, and no second build: figures to look at, not to quote
  --json FILE     where the figures go (softhsm-tests/work/bench-network.json)";

/// What was asked for.
#[derive(Debug, Default)]
pub(crate) struct Arguments {
    /// Fewer and shorter rounds.
    pub(crate) quick: bool,
    /// Where the figures go.
    pub(crate) json: Option<PathBuf>,
}

impl Arguments {
    /// Reads them.
    ///
    /// # Errors
    /// What is wrong with them; nothing, if help was asked for.
    pub(crate) fn read(mut words: impl Iterator<Item = String>) -> Result<Self, Option<String>> {
        let mut read = Self::default();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--quick" => read.quick = true,
                "--json" => match words.next() {
                    Some(file) => read.json = Some(file.into()),
                    None => return Err(Some(format!("{word} needs a value"))),
                },
                "--help" | "-h" => return Err(None),
                _ => return Err(Some(format!("{word} is not an option"))),
            }
        }
        Ok(read)
    }
}
