//! Modules are named by their SMID, or by a beginning of it that no other has.

use serde_json::Value;

use crate::harness::{Layout, SoftwareModule, words};

/// The whole SMID of a module that the SMID's beginning names.
fn smid(layout: &Layout, beginning: &str) -> String {
    let modules = layout.gateway(&words("module list"));
    let mut words = modules.split_whitespace();
    let smid = words.find(|word| word.starts_with(beginning));
    smid.expect("a module").to_owned()
}

#[test]
fn a_beginning_names_a_module_that_has_it_alone() {
    let layout = Layout::new();
    for name in ["90000001", "90000002"] {
        SoftwareModule::new(&layout, name);
    }
    let both = "SMID.1:Example:9000000";
    let first = "SMID.1:Example:90000001";
    let (whole, second) = (smid(&layout, first), smid(&layout, &format!("{both}2")));

    for command in [
        "module history",
        "module revoke",
        "module authorise --sgc 123456",
        "audit list --smid",
    ] {
        let ended = layout.try_gateway(&words(&format!("{command} {both}")));
        assert_eq!(ended.code, Some(1), "{command}: {ended:?}");
        let expected = format!("2 modules are named {both:?}");
        assert!(ended.stderr.contains(&expected), "{command}: {ended:?}");
        for candidate in [&whole, &second] {
            assert!(ended.stderr.contains(candidate), "{command}: {ended:?}");
        }
    }
    let ended = layout.try_gateway(&words("module revoke SMID.1:Other"));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("module list"), "{ended:?}");
    assert_eq!(
        layout
            .gateway(&words("module list"))
            .matches("  active  ")
            .count(),
        2
    );

    assert_eq!(layout.gateway(&["module", "history", first]), "");
    // A change by a beginning shows whom it means; a whole name needs no such line.
    let revoked = layout.gateway(&["module", "revoke", first]);
    let (meant, line) = revoked.split_once('\n').expect("two lines");
    assert_eq!(meant, format!("the module is {whole}"));
    assert!(line.starts_with(&format!("{whole}  revoked")), "{revoked}");
    let authorised = layout.gateway(&["module", "authorise", &second, "--sgc", "123456"]);
    assert!(
        authorised.starts_with(&format!("{second}  ")),
        "{authorised}"
    );

    let json = layout.gateway(&["audit", "list", "--json", "--smid", first]);
    let entries: Vec<Value> = serde_json::from_str(&json).expect("an array");
    assert_eq!(entries.len(), 2, "{json}");
    assert!(!json.contains(&second), "{json}");
}
