//! What a signature asks of the system and of the heap: counted, not timed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use softhsm_bench::{Allocations, Key, place::Place};

use crate::{
    contestant::{Contestant, program},
    report::{Goal, LIBRARY, MODULE, Row, SOFTHSM, Unit},
    tokens::{KEYS, Tokens},
};

/// How many signatures are counted.
const COUNT: u64 = 1_000;
/// How many system calls of a signature are none: the library takes fresh randomness from the system now and then.
const SELDOM: f64 = 1.0 / 500.0;

fn per_operation(count: u64) -> f64 {
    count as f64 / COUNT as f64
}

/// System calls and allocations of a signature.
pub fn signature(tokens: &Tokens, ours: &Place) -> Vec<Row> {
    let counter = tokens.host("count_allocations", true);
    let mut rows = Vec::new();
    let mut places = None;
    for key in [Key::Rsa2048, Key::P256, Key::Ed25519] {
        let mut calls = Row::new(format!("system calls, {}", key.title()), Unit::Count);
        let mut allocations = Row::new(format!("heap allocations, {}", key.title()), Unit::Count);
        let mut counted = Vec::new();
        for who in [MODULE, SOFTHSM, LIBRARY] {
            let worker = || worker(who, tokens, ours);
            let found = system_calls(&worker(), key.name(), &tokens.file("trace"));
            if let Ok(found) = &found
                && !found.is_empty()
            {
                calls.note(format!("{who}, in {COUNT} signatures: {}", summary(found)));
            }
            calls.value(who, found.map(|found| per_operation(found.len() as u64)));
            let found = counted_allocations(&mut worker(), key.name(), &counter);
            let each = found.as_ref().map(|found| per_operation(found.total()));
            allocations.value(who, each.map_err(String::clone));
            counted.push(found);
        }
        let own = calls.get(MODULE);
        calls.check("each", Unit::Count, own, Goal::AtMost(SELDOM));
        if let [Ok(module), _, Ok(library)] = counted.as_slice() {
            if key == Key::Rsa2048 {
                places = library_places(module, library);
            }
            let own = match &places {
                Some(places) => {
                    let own = module.0.iter().filter(|(at, _)| !places.contains(at));
                    per_operation(own.map(|(_, count)| count).sum())
                }
                // At most: what is the library's cannot be told from the rest.
                None => per_operation(module.total()) - per_operation(library.total()),
            };
            allocations.check("by our own code", Unit::Count, Some(own), Goal::AtMost(0.0));
        }
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

/// Which allocations were made by [`COUNT`] operations.
fn counted_allocations(
    worker: &mut Command,
    what: &str,
    counter: &Path,
) -> Result<Allocations, String> {
    let mut worker = Contestant::start(worker.env("LD_PRELOAD", counter));
    let answer = worker.ask(&format!("count {what} {COUNT}"))?;
    Allocations::from_answer(&answer).ok_or(answer)
}

/// Where the crypto library inside the module allocates: all places where RSA signatures do, if these are as many as without the
/// module.
fn library_places(module: &Allocations, library: &Allocations) -> Option<BTreeSet<u64>> {
    // Blinding is random, and so is a small part of the number.
    (module.total().abs_diff(library.total()) < COUNT / 2)
        .then(|| module.0.keys().copied().collect())
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
    let mut counts = BTreeMap::new();
    for call in calls {
        *counts.entry(call.as_str()).or_insert(0_u64) += 1;
    }
    let counts: Vec<_> = counts
        .into_iter()
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    counts.join(", ")
}
