//! Whole processes: how they start, what they need, and their first signature.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use softhsm_bench::{
    host::{fresh, numbers},
    place::Place,
};

use super::Effort;
use crate::{
    contestant::median,
    report::{Goal, MODULE, Row, SOFTHSM, Unit},
    tokens::{TWO, Tokens, certificates},
};

/// Other modules that start in every process which uses them, where Debian puts them.
const PEERS: [(&str, &str); 2] = [
    (
        "opensc-pkcs11",
        "/usr/lib/x86_64-linux-gnu/opensc-pkcs11.so",
    ),
    (
        "p11-kit-proxy",
        "/usr/lib/x86_64-linux-gnu/p11-kit-proxy.so",
    ),
];

/// A figure of some processes, all in turns, and the median of each; the first failure of one ends it.
type Runs<T> = Vec<(&'static str, Result<Vec<T>, String>)>;

/// One contestant's process, started again and again.
struct Process<'a, T> {
    who: &'static str,
    run: Box<dyn FnMut() -> Result<T, String> + 'a>,
}

impl<'a, T> Process<'a, T> {
    fn new(who: &'static str, run: impl FnMut() -> Result<T, String> + 'a) -> Self {
        let run = Box::new(run);
        Self { who, run }
    }
}

fn in_turns<T>(mut contestants: Vec<Process<'_, T>>, rounds: usize) -> Runs<T> {
    let mut runs: Runs<T> = contestants
        .iter()
        .map(|process| (process.who, Ok(Vec::new())))
        .collect();
    // One of each for nothing: it finds the files on the disk.
    for round in 0..=rounds {
        for (process, (_, results)) in contestants.iter_mut().zip(&mut runs) {
            let Ok(known) = results else { continue };
            match (process.run)() {
                Ok(_) if round == 0 => {}
                Ok(result) => known.push(result),
                Err(reason) => *results = Err(reason),
            }
        }
    }
    runs
}

fn row<T: Copy>(figure: &str, unit: Unit, runs: &Runs<T>, of: impl Fn(T) -> f64) -> Row {
    let mut row = Row::new(figure, unit);
    for (who, results) in runs {
        let value = results
            .as_ref()
            .map(|results| median(results.iter().map(|result| of(*result))));
        row.value(who, value.map_err(String::clone));
    }
    row
}

/// dlopen, C_Initialize, everything listed, C_Finalize.
pub fn start(tokens: &Tokens, ours: &Place, effort: Effort) -> Vec<Row> {
    let host = tokens.host("fresh", false);
    let softhsm = tokens.softhsm(TWO);
    let empty = Place {
        module: PathBuf::new(),
        label: String::new(),
        pin: None,
        variables: Vec::new(),
    };
    let (host, empty) = (&host, &empty);
    let mut contestants = vec![
        Process::new(MODULE, || fresh(ours.command(host).arg(&ours.module), 0)),
        Process::new(SOFTHSM, || {
            fresh(softhsm.command(host).arg(&softhsm.module), 4)
        }),
    ];
    for (name, path) in PEERS {
        if Path::new(path).exists() {
            contestants.push(Process::new(name, move || {
                fresh(empty.command(host).arg(path), 0)
            }));
        }
    }
    let runs = in_turns(contestants, effort.processes);
    let mut cpu = row(
        "fresh process: load, list, finalize: CPU",
        Unit::Nanoseconds,
        &runs,
        |run| run.cpu_ns,
    );
    let own = cpu.get(MODULE);
    cpu.check("CPU time", Unit::Nanoseconds, own, Goal::AtMost(1e6));
    let best = [SOFTHSM, PEERS[0].0, PEERS[1].0]
        .iter()
        .filter_map(|peer| cpu.get(peer))
        .min_by(f64::total_cmp);
    let ratio = own.zip(best).map(|(own, best)| own / best);
    cpu.check("of the fastest peer", Unit::Times, ratio, Goal::AtMost(1.0));
    let wall = row(
        "fresh process: load, list, finalize: wall",
        Unit::Nanoseconds,
        &runs,
        |run| run.wall_ns,
    );
    vec![cpu, wall]
}

/// The most memory that listing needs, above that of an empty process.
pub fn memory(tokens: &Tokens, count: usize, effort: Effort) -> Vec<Row> {
    let host = tokens.host("fresh", false);
    let host = &host;
    [
        (TWO.to_owned(), 2, 4),
        (certificates(count), count, count as u64),
    ]
    .into_iter()
    .map(|(token, certificates, objects)| {
        let (ours, softhsm) = (tokens.ours(&token), tokens.softhsm(&token));
        let contestants = vec![
            Process::new(MODULE, || {
                fresh(ours.command(host).arg(&ours.module), objects)
            }),
            Process::new(SOFTHSM, || {
                fresh(softhsm.command(host).arg(&softhsm.module), objects)
            }),
            Process::new("empty", || fresh(&mut Command::new(host), 0)),
        ];
        let runs = in_turns(contestants, effort.processes.min(11));
        let peaks = row("", Unit::Bytes, &runs, |run| run.peak);
        let mut above = Row::new(
            format!("peak memory above an empty process, {certificates} certificates"),
            Unit::Bytes,
        );
        for (who, result) in &runs {
            if *who == "empty" {
                continue;
            }
            let value = result.as_ref().map_err(String::clone).and_then(|_| {
                peaks
                    .get(who)
                    .zip(peaks.get("empty"))
                    .ok_or("no empty process".to_owned())
            });
            above.value(who, value.map(|(peak, empty)| peak - empty));
        }
        let ratio = above
            .get(MODULE)
            .zip(above.get(SOFTHSM))
            .map(|(own, other)| own / other);
        above.check("of SoftHSM2", Unit::Times, ratio, Goal::AtMost(1.0));
        above
    })
    .collect()
}

/// The first signature of a process, and of its child, with the key parsed before.
pub fn first_signature(tokens: &Tokens, ours: &Place, effort: Effort) -> Vec<Row> {
    let host = tokens.host("first_signature", false);
    let softhsm = tokens.softhsm(TWO);
    let host = &host;
    let first = |place: &Place| -> Result<(f64, f64), String> {
        let found = numbers(place.command(host).arg(&place.module).arg(&place.label))?;
        match found.as_slice() {
            [process, child] => Ok((*process, *child)),
            _ => Err(format!("{found:?}")),
        }
    };
    let contestants = vec![
        Process::new(MODULE, || first(ours)),
        Process::new(SOFTHSM, || first(&softhsm)),
    ];
    let runs = in_turns(contestants, effort.processes.min(21));
    [
        ("first signature of a process, RSA-2048: CPU", 2e6, 0),
        ("first signature after fork, RSA-2048: CPU", 1e6, 1),
    ]
    .into_iter()
    .map(|(figure, target, which)| {
        let of = |(process, child)| if which == 0 { process } else { child };
        let mut row = row(figure, Unit::Nanoseconds, &runs, of);
        let own = row.get(MODULE);
        row.check("CPU time", Unit::Nanoseconds, own, Goal::AtMost(target));
        row
    })
    .collect()
}

/// The size of the module's file.
pub fn size(module: &Path) -> Vec<Row> {
    let mut row = Row::new("size of the .so", Unit::Bytes);
    let bytes = fs::metadata(module).map(|file| file.len() as f64);
    row.value(MODULE, bytes.map_err(|error| error.to_string()));
    let own = row.get(MODULE);
    row.check(
        "size",
        Unit::Bytes,
        own,
        Goal::AtMost(4.0 * 1024.0 * 1024.0),
    );
    vec![row]
}
