//! What whole processes cost a PIV card, in commands on the wire: ours, OpenSC and ykcs11 against the same card, in one
//! table. A peer that keeps what it has read for the next process is shown apart, with that kept.

use std::{path::PathBuf, process::ExitCode};

use softhsm_tests::{
    apdus::{ApduBed, Peer, Scenario},
    module::module_path,
};

fn main() -> ExitCode {
    let debian = PathBuf::from(format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH));
    let peer = |name, module: PathBuf, is_warm| Peer {
        name,
        module,
        is_warm,
    };
    let peers = [
        peer("ctk-pkcs11", module_path(), false),
        peer("OpenSC", debian.join("opensc-pkcs11.so"), false),
        peer("ykcs11", debian.join("libykcs11.so"), false),
        peer("OpenSC, warm", debian.join("opensc-pkcs11.so"), true),
    ];
    let mut is_met = true;
    for is_short in [true, false] {
        is_met &= table(&peers, is_short);
    }
    if is_met {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Prints one table; says whether all budgets are met, and no peer that gives the same answer is below us.
fn table(peers: &[Peer], is_short: bool) -> bool {
    let length = if is_short { "short" } else { "extended" };
    println!(
        "\nAPDUs on the wire, {length} length: PIV, two RSA-2048 and two P-256 keys with certificates"
    );
    let names: Vec<_> = peers
        .iter()
        .map(|peer| format!("{:>12}", peer.name))
        .collect();
    println!("{:<42} {} {:>8}", "", names.join(" "), "budget");
    let mut bed = ApduBed::new(is_short);
    let mut is_met = true;
    for scenario in Scenario::ALL {
        let spent: Vec<_> = peers
            .iter()
            .map(|peer| {
                if peer.is_warm {
                    // Once before, for what it keeps.
                    let _ = bed.measure(peer, scenario);
                }
                bed.measure(peer, scenario)
            })
            .collect();
        let cells: Vec<_> = spent
            .iter()
            .map(|spent| match spent {
                Ok(spent) => format!("{spent:>12}"),
                Err(_) => format!("{:>12}", "fails"),
            })
            .collect();
        let budget = scenario.budget(is_short);
        let verdict = match &spent[0] {
            Ok(ours) if *ours > budget => "OVER THE BUDGET",
            Ok(_) => "",
            Err(_) => "FAILS",
        };
        is_met &= verdict.is_empty();
        println!(
            "{:<42} {} {budget:>8} {verdict}",
            scenario.title(),
            cells.join(" ")
        );
        for (peer, spent) in peers.iter().zip(&spent) {
            if let Err(why) = spent {
                let first = why.lines().find(|line| !line.trim().is_empty());
                eprintln!(
                    "{}: {}: {}",
                    peer.name,
                    scenario.title(),
                    first.unwrap_or("")
                );
            }
        }
    }
    is_met
}
