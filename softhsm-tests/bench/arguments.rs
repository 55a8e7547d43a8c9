//! The command line.

use std::path::PathBuf;

/// What `--help` prints.
pub const USAGE: &str = "\
usage: softhsm-tests/bench.sh [--quick] [--json FILE] [--module FILE [--label TOKEN [--pin PIN]]]

Measures a module beside SoftHSM2 and beside the crypto library in a loop, all in turns and with the same keys, prints a table and
writes the figures as JSON. It is no test: its exit status says nothing about speed.

  --quick         fewer and shorter rounds: figures to look at, not to quote
  --json FILE     where the figures go (softhsm-tests/work/bench.json)
  --module FILE   the module to measure, instead of this repository's release build
  --label TOKEN   a token of that module, set up by its own configuration. Without it the module finds the tokens that the
                  benchmark makes: those of another build of this module, or of SoftHSM2
  --pin PIN       that token's PIN";

/// What was asked for.
#[derive(Debug, Default)]
pub struct Arguments {
    /// Fewer and shorter rounds.
    pub quick: bool,
    /// Where the figures go.
    pub json: Option<PathBuf>,
    /// Another module.
    pub module: Option<PathBuf>,
    /// Its token.
    pub label: Option<String>,
    /// That token's PIN.
    pub pin: Option<String>,
}

impl Arguments {
    /// Reads them.
    ///
    /// # Errors
    /// What is wrong with them; nothing, if help was asked for.
    pub fn read(mut words: impl Iterator<Item = String>) -> Result<Self, Option<String>> {
        let mut read = Self::default();
        while let Some(word) = words.next() {
            let mut value = || {
                words
                    .next()
                    .ok_or_else(|| Some(format!("{word} needs a value")))
            };
            match word.as_str() {
                "--quick" => read.quick = true,
                "--json" => read.json = Some(value()?.into()),
                "--module" => read.module = Some(value()?.into()),
                "--label" => read.label = Some(value()?),
                "--pin" => read.pin = Some(value()?),
                "--help" | "-h" => return Err(None),
                _ => return Err(Some(format!("{word} is not an option"))),
            }
        }
        if read.label.is_some() && read.module.is_none() {
            return Err(Some("--label goes with --module".to_owned()));
        }
        if read.pin.is_some() && read.label.is_none() {
            return Err(Some("--pin goes with --label".to_owned()));
        }
        Ok(read)
    }
}
