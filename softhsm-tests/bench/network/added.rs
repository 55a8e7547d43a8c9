//! What we add to the time that the service takes: a signature by the module, beside a client that does no more than send the same
//! bytes and read what comes, on a connection that is kept too.

use softhsm_bench::{
    Each, Key,
    contestant::{Contestant, median},
    report::{Goal, MODULE, Row, Unit},
};

use crate::{
    BARE, Effort,
    bare::Bare,
    services::{Services, Which, Wire},
};

/// The most that we may add, in nanoseconds.
const TARGET: f64 = 1e6;

/// Each service, plain and in TLS, with each key.
pub(crate) fn to_the_services_time(services: &Services, effort: Effort) -> Vec<Row> {
    let mut rows = Vec::new();
    for which in [Which::Kms, Which::CscImplicit] {
        for wire in Wire::ALL {
            let (remote, _) = services.fixed(which, wire);
            let mut module = Contestant::module(&remote.place);
            for &key in which.keys() {
                let figure = format!("one signature: {}, {}", remote.title(), key.title());
                let mut row = Row::new(figure, Unit::Nanoseconds);
                // The first one is asked of the service itself, and leaves the bytes that the other client sends.
                let bare = module.signature(key).map(|_| {
                    let asked = remote.proxy.requests_for(which.operation());
                    Bare::new(
                        services,
                        &remote.proxy,
                        wire,
                        asked.last().expect("a request"),
                    )
                });
                match bare.and_then(|mut bare| turns(&mut module, &mut bare.worker, key, effort)) {
                    Ok(turns) => fill(&mut row, &turns),
                    Err(reason) => row.value(MODULE, Err(reason)),
                }
                rows.push(row);
            }
        }
    }
    rows
}

/// A turn of the module and one of the bare client next to it.
type Turn = (Each, Each);

fn turns(
    module: &mut Contestant,
    bare: &mut Contestant,
    key: Key,
    effort: Effort,
) -> Result<Vec<Turn>, String> {
    let count = effort.signatures;
    let ours = format!("each {} {count}", key.name());
    let theirs = format!("each {count}");
    (0..effort.rounds)
        .map(|round| {
            // Nobody is always the one after another.
            if round % 2 == 0 {
                let one = module.each(&ours)?;
                Ok((one, bare.each(&theirs)?))
            } else {
                let other = bare.each(&theirs)?;
                Ok((module.each(&ours)?, other))
            }
        })
        .collect()
}

fn fill(row: &mut Row, turns: &[Turn]) {
    let of = |of: fn(&Turn) -> f64| median(turns.iter().map(of));
    row.value(MODULE, Ok(of(|(module, _)| module.median_ns())));
    row.value(BARE, Ok(of(|(_, bare)| bare.median_ns())));
    let (added, ratio) = (added_ns(turns), ratio(turns));
    row.check(
        "added",
        Unit::Nanoseconds,
        Some(added),
        Goal::AtMost(TARGET),
    );
    row.note(format!(
        "{ratio:.4}× of the bare client; CPU time of a signature {:.0} µs, of the bare client {:.0} µs",
        of(|(module, _)| module.cpu_of_one_ns()) / 1e3,
        of(|(_, bare)| bare.cpu_of_one_ns()) / 1e3,
    ));
}

/// How much longer the module takes: the median of the turns' differences, in nanoseconds.
fn added_ns(turns: &[Turn]) -> f64 {
    let difference = |(module, bare): &Turn| module.median_ns() - bare.median_ns();
    median(turns.iter().map(difference))
}

/// How many times as long it takes.
fn ratio(turns: &[Turn]) -> f64 {
    let ratio = |(module, bare): &Turn| module.median_ns() / bare.median_ns();
    median(turns.iter().map(ratio))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disturbed_turn_does_not_decide() {
        let each = |walls: &[u64]| Each {
            cpu_ns: 0,
            walls: walls.to_vec(),
        };
        let turns = [
            (each(&[120, 110, 900]), each(&[100, 100, 100])),
            (each(&[130, 130, 130]), each(&[100, 100, 700])),
            // Somebody else had the machine.
            (each(&[9_000, 9_000, 9_000]), each(&[100, 100, 100])),
        ];
        assert_eq!(added_ns(&turns), 30.0);
        assert_eq!(ratio(&turns), 1.3);
    }
}
