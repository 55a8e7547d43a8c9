//! What a mistake costs, and what it must not uncover.

use super::*;

#[test]
fn an_entry_that_is_no_table_costs_no_other() {
    let inline = "{ name = \"one\", driver = \"pkcs12\", file = \"/k/one.p12\" }";
    let configuration = read_one(&format!("token = [\n1,\n{inline},\n\"x\"\n]\n"));
    assert_eq!(names(&configuration), ["one"]);
    let message = "token must be a list of tables, and this entry is none";
    assert_eq!(
        said(&configuration),
        [format!("2: {message}"), format!("4: {message}")]
    );
    // One that is no TOML costs what is written in one piece with it.
    let configuration = read_one(&format!("token = [{inline}, {{]\n{}", token("two")));
    assert_eq!(names(&configuration), ["two"]);
    assert!(said(&configuration)[0].starts_with("1: "));
}

#[test]
fn a_header_in_quotes_begins_a_token_too() {
    for header in ["[[\"token\"]]", "[[ 'token' ]]"] {
        let quoted = |name: &str| token(name).replace("[[token]]", header);
        let configuration = read_one(&[quoted("one"), "order =\n".into(), quoted("two")].concat());
        assert_eq!(names(&configuration), ["two"], "{header}");
    }
}

#[test]
fn a_mistake_in_a_users_token_does_not_uncover_the_machines() {
    for broken in ["order = \"x\"\n", "order =\n"] {
        let folder = TestFolder::new();
        folder.write(
            "etc/ctk/ctk.toml",
            &[token("work"), token("other")].concat(),
        );
        folder.write("home/.config/ctk/ctk.toml", &(token("work") + broken));
        let configuration = Configuration::read(&user(&folder));
        assert_eq!(names(&configuration), ["other"], "{broken}");
        assert_eq!(configuration.problems[0].token.as_deref(), Some("work"));
    }
    let folder = TestFolder::new();
    folder.write(
        "etc/ctk/ctk.toml",
        &[token("work"), token("other")].concat(),
    );
    let closed = folder.write("home/.config/ctk/tokens.d/work.toml", &token("work"));
    fs::set_permissions(closed, fs::Permissions::from_mode(0o666)).unwrap();
    let configuration = Configuration::read(&user(&folder));
    assert_eq!(names(&configuration), ["other"]);
    // The machine's own mistakes cost what they are about.
    folder.write("etc/ctk/tokens.d/other.toml", "order =\n");
    assert_eq!(names(&Configuration::read(&user(&folder))), ["other"]);
}
