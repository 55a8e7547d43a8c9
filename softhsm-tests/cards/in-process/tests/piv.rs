//! PIV cards keep every rule of the contract.

use ctk_token::conformance;
use in_process::{Bench, CardFixture};
use virtual_cards::{Applet, Model, personalise::Profile};

#[test]
fn conforms() {
    let fixture = CardFixture {
        bench: Bench::new(Profile::PivFour),
        model: Model {
            applets: vec![Applet::Piv],
            ..Model::default()
        },
    };
    let outcomes = conformance::run(&fixture);
    let not_applicable: Vec<_> = outcomes
        .iter()
        .filter_map(|outcome| outcome.not_applicable.map(|why| (outcome.rule, why)))
        .collect();
    assert_eq!(not_applicable, [("no two ML-DSA signatures are the same", "no ML-DSA key")]);
}
