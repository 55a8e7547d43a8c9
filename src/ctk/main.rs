//! The command `ctk`: registers tokens and says what is wrong. It talks to people; programs talk to the module.

#![deny(unsafe_code)]

mod add;
mod args;
mod card;
mod console;
mod contents;
mod doctor;
mod facts;
mod list;
mod manual;
mod module;
mod network;
mod passwd;
mod password;
mod progress;
mod remove;
mod serial;
mod settings;
mod sign;
mod sys;
mod table;
mod test;
mod trial;
mod update;
mod uri;
mod usage;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use args::{Arguments, Command};
use console::{Console, Outcome};

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage::refuse(&error),
    };
    let console = Console::new(arguments.json);
    let outcome = run(&console, arguments.command);
    console.exit_code(outcome)
}

fn run(console: &Console, command: Command) -> Outcome {
    match command {
        Command::Add(arguments) => add::run(console, &arguments),
        Command::List => list::run_list(console),
        Command::Show(arguments) => list::run_show(console, &arguments.name),
        Command::Update(arguments) => update::run(console, &arguments),
        Command::Refresh(arguments) => network::refresh(console, &arguments),
        Command::Remove(arguments) => remove::run(console, &arguments),
        Command::Test(arguments) => test::run(console, &arguments.name),
        Command::Passwd(arguments) => passwd::run(console, &arguments.name),
        Command::Card { command } => card::run(console, &command),
        Command::Pin { command } => card::run_pin(console, &command),
        Command::Watch => card::watch(console),
        Command::Doctor { part, name } => doctor::run(console, part, name.as_deref()),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "ctk", &mut script);
            console.bytes(&script)
        }
        Command::Man => console.bytes(&manual::page()?),
    }
}
