//! What whole processes cost a PIV card with four keys, in commands on the wire: never more than the budget.

use softhsm_tests::{
    apdus::{ApduBed, Peer, Scenario},
    module::module_path,
};

fn within_budget(is_short: bool) {
    let ours = Peer {
        name: "ctk-pkcs11",
        module: module_path(),
        is_warm: false,
    };
    let mut bed = ApduBed::new(is_short);
    let mut over = Vec::new();
    for scenario in Scenario::ALL {
        let title = scenario.title();
        let spent = match bed.measure(&ours, scenario) {
            Ok(spent) => spent,
            Err(why) => panic!("{title}:\n{why}"),
        };
        let budget = scenario.budget(is_short);
        println!("{title}: {spent} of {budget}");
        if spent > budget {
            over.push(format!(
                "{title}: {spent}, and the budget is {budget}\n{}",
                bed.log(spent)
            ));
        }
    }
    assert!(over.is_empty(), "{}", over.join("\n\n"));
}

#[test]
fn commands_are_within_their_budgets_with_short_length() {
    within_budget(true);
}

#[test]
fn commands_are_within_their_budgets_with_extended_length() {
    within_budget(false);
}
