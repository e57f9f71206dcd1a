//! The JSON that commands print for scripts: every list, and the findings of
//! `check`, `audit verify` and `backup`.

use serde_json::{Value, json};

use crate::harness::{Layout, SoftwareModule, words};

fn read(text: &str) -> Value {
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(text).expect("JSON")
}

/// The names of an object's fields, in alphabetical order.
fn fields(object: &Value) -> String {
    let fields = object.as_object().expect("an object").keys();
    fields.map(String::as_str).collect::<Vec<_>>().join(" ")
}

#[test]
fn every_list_of_keys_is_an_array_of_objects() {
    let layout = Layout::new();
    SoftwareModule::new(&layout, "90000001");
    for (command, expected) in [
        ("kmc list", "activation curve expiry kmcid state"),
        ("module list", "hardware sgcs smid state"),
        (
            "vending-key list",
            "act bdt clm dkga exp iut ken krn kt kcv sgc ulm",
        ),
    ] {
        let shown = layout.gateway(&words(command));
        let list = read(&layout.gateway(&words(&format!("{command} --json"))));
        let list = list.as_array().expect("an array");
        assert_eq!(list.len(), shown.lines().count(), "{command}");
        let mut expected: Vec<&str> = expected.split(' ').collect();
        expected.sort_unstable();
        assert_eq!(fields(&list[0]), expected.join(" "), "{command}");
        // Each text of the object stands in the line.
        let line = shown.lines().next().expect("a line");
        for value in list[0].as_object().expect("an object").values() {
            let is_shown = value.as_str().is_none_or(|text| line.contains(text));
            let is_limit = value == "FFFFFFFF";
            assert!(is_shown || is_limit, "{command}: {value}: {line}");
        }
    }
    for command in ["queue list", "senders list"] {
        let list = layout.gateway(&words(&format!("{command} --json")));
        assert_eq!(read(&list), json!([]), "{command}");
    }
}

#[test]
fn a_verified_log_and_a_copy_name_the_same_head() {
    let layout = Layout::new();
    let verified = read(&layout.gateway(&words("audit verify --json")));
    assert_eq!(verified["holds"], true, "{verified}");
    assert_eq!(verified["first"], 1, "{verified}");
    assert_eq!(verified["kept_head"], Value::Null);
    assert_eq!(verified["broken"], Value::Null);
    let head = verified["head"].as_str().expect("a head");

    let copy = layout.directory().join("copy.sqlite3");
    let copy = copy.to_str().expect("UTF-8");
    let backup = read(&layout.gateway(&["backup", "--json", copy]));
    assert_eq!(backup["file"], copy);
    assert_eq!(backup["head"], head);
    assert!(backup["bytes"].as_u64() > Some(4096), "{backup}");

    let kept = read(&layout.gateway(&["audit", "verify", "--json", "--head", head]));
    assert_eq!(kept["kept_head"], head);
    layout.sqlite("UPDATE audit SET entry = replace(entry, 'added', 'addes') WHERE sequence = 2");
    let ended = layout.try_gateway(&words("audit verify --json"));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let broken = read(&ended.stdout);
    assert_eq!(
        (&broken["holds"], &broken["head"]),
        (&false.into(), &Value::Null)
    );
    assert_eq!(broken["broken"]["entry"], 2, "{broken}");
}
