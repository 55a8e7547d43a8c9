//! What a signature asks of the system and of the heap: counted, not timed.

use std::{fs, path::Path, process::Command};

use softhsm_bench::Key;

use crate::{
    contestant::{Contestant, program},
    report::{Goal, LIBRARY, MODULE, Row, SOFTHSM, Unit},
    tokens::{KEYS, Place, Tokens},
};

/// How many signatures are counted.
const COUNT: u64 = 1_000;

/// System calls and allocations of a signature.
pub fn signature(tokens: &Tokens, ours: &Place) -> Vec<Row> {
    let counter = tokens.host("count_allocations", true);
    let mut rows = Vec::new();
    for key in [Key::Rsa2048, Key::P256, Key::Ed25519] {
        let mut calls = Row::new(format!("system calls, {}", key.title()), Unit::Count);
        let mut allocations = Row::new(format!("heap allocations, {}", key.title()), Unit::Count);
        for who in [MODULE, SOFTHSM, LIBRARY] {
            let worker = || worker(who, tokens, ours);
            let mut names = String::new();
            calls.value(
                who,
                system_calls(&worker(), key.name(), &tokens.file("trace")).map(|found| {
                    names = summary(&found);
                    found.len() as f64 / COUNT as f64
                }),
            );
            if !names.is_empty() {
                calls.note(format!("{who}, in {COUNT} signatures: {names}"));
            }
            allocations.value(
                who,
                counted_allocations(&mut worker(), key.name(), &counter),
            );
        }
        let seldom = 1.0 / 500.0; // the library's reseeding
        let own = calls.get(MODULE);
        calls.check("each", Unit::Count, own, Goal::AtMost(seldom));
        let own = allocations
            .get(MODULE)
            .zip(allocations.get(LIBRARY))
            .map(|(all, library)| all - library);
        allocations.check("by our own code", Unit::Count, own, Goal::AtMost(0.0));
        rows.push(calls);
        rows.push(allocations);
    }
    rows
}

fn worker(who: &str, tokens: &Tokens, ours: &Place) -> Command {
    if who == LIBRARY {
        let mut command = Command::new(program("bench-bare"));
        command.arg(tokens.keys(KEYS));
        return command;
    }
    let softhsm = tokens.softhsm(KEYS);
    let place = if who == SOFTHSM { &softhsm } else { ours };
    let mut command = place.command(&program("bench-module"));
    command.arg(&place.module).arg(&place.label);
    command
}

/// How often memory was allocated for one operation.
fn counted_allocations(worker: &mut Command, what: &str, counter: &Path) -> Result<f64, String> {
    let mut worker = Contestant::start(worker.env("LD_PRELOAD", counter));
    let answer = worker.ask(&format!("count {what} {COUNT}"))?;
    let allocations: f64 = answer.parse().map_err(|_| answer)?;
    Ok(allocations / COUNT as f64)
}

/// The names of the system calls between the marks, in their order.
fn system_calls(worker: &Command, what: &str, log: &Path) -> Result<Vec<String>, String> {
    let mut traced = Command::new("strace");
    traced.args(["-f", "-qq", "-o"]).arg(log);
    traced.arg(worker.get_program()).args(worker.get_args());
    for (name, value) in worker.get_envs() {
        match value {
            Some(value) => traced.env(name, value),
            None => traced.env_remove(name),
        };
    }
    Contestant::start(&mut traced).ask(&format!("count {what} {COUNT}"))?;
    let text = fs::read_to_string(log).map_err(|error| error.to_string())?;
    let mut marked = false;
    let mut marks = 0;
    let mut calls = Vec::new();
    for line in text.lines() {
        // "PID name(arguments) = result"
        let call = line.split_once(' ').map_or(line, |(_, call)| call.trim());
        if call.starts_with("write(-1, \"mark\"") {
            marked = !marked;
            marks += 1;
        } else if marked {
            calls.extend(call.split_once('(').map(|(name, _)| name.to_owned()));
        }
    }
    if marks != 2 {
        return Err(format!("strace saw {marks} marks instead of 2"));
    }
    Ok(calls)
}

/// Each name with how often it is there.
fn summary(calls: &[String]) -> String {
    let mut counts = std::collections::BTreeMap::new();
    for call in calls {
        *counts.entry(call.as_str()).or_insert(0_u64) += 1;
    }
    let counts: Vec<_> = counts
        .into_iter()
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    counts.join(", ")
}
