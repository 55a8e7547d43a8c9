//! Where a token is: a module, and what a process needs to get to its token.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// A token of a module, and how a process gets to it.
#[derive(Clone, Debug)]
pub struct Place {
    /// The module.
    pub module: PathBuf,
    /// The token.
    pub label: String,
    /// Its PIN.
    pub pin: Option<String>,
    /// What the process needs in its environment.
    pub variables: Vec<(String, String)>,
}

impl Place {
    /// A program that works on this token.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        match &self.pin {
            Some(pin) => command.env("BENCH_PIN", pin),
            None => command.env_remove("BENCH_PIN"),
        };
        command
    }
}
