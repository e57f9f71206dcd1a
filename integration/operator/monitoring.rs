//! The dashboard and alerts of `monitoring/`: they ask for nothing that isn't there.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use kms_gateway::measures::{Kind, MEASURES};
use serde_json::Value;

use crate::{
    harness::{Exported, House, Pages, run, until},
    watching::{PATIENCE, site_with_blocklist},
};

/// A file of `monitoring/`.
fn monitoring(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("monitoring");
    directory.join(name)
}

fn text(name: &str) -> String {
    let path = monitoring(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The values of `expr` wherever it stands.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            if let Some(Value::String(text)) = object.get("expr") {
                found.push(text.clone());
            }
            object.values().for_each(|value| expressions(value, found));
        }
        Value::Array(array) => array.iter().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

fn of_dashboard() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&text("grafana-dashboard.json")).expect("JSON");
    let mut found = Vec::new();
    expressions(&dashboard, &mut found);
    found
}

/// The lines of `expr:` and what is indented below them.
fn of_alerts() -> Vec<String> {
    let text = text("alerts.yml");
    let expressions = text.split("expr:").skip(1);
    expressions
        .map(|rest| rest.split("\n        for:").next().expect("it").to_owned())
        .collect()
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The metrics that an expression asks for, each with its label matchers.
fn metrics_in(expression: &str) -> Vec<(String, Vec<(String, String)>)> {
    let beginnings = expression
        .match_indices("kms_gateway_")
        .chain(expression.match_indices("process_start"));
    let named = beginnings.filter(|(place, _)| !expression[..*place].ends_with(is_of_name));
    named
        .map(|(place, _)| {
            let rest = &expression[place..];
            let end = rest.find(|c| !is_of_name(c)).unwrap_or(rest.len());
            let (name, rest) = rest.split_at(end);
            let matchers = rest.strip_prefix('{').map_or("", |rest| {
                let end = rest.find("\"}").expect("an end");
                &rest[..=end]
            });
            let pieces: Vec<&str> = matchers.split('"').collect();
            let matchers = pieces.chunks_exact(2).map(|pair| {
                let label = pair[0].trim_matches([',', ' ', '=', '!', '~']);
                (label.to_owned(), pair[1].to_owned())
            });
            (name.to_owned(), matchers.collect())
        })
        .collect()
}

/// The name in the table, without what a histogram's series have at the end.
fn base(name: &str) -> String {
    let histogram = ["_bucket", "_count", "_sum"].iter().find_map(|end| {
        let base = name.strip_suffix(end)?;
        let row = MEASURES.iter().map(|row| row.measure());
        let mut of_kind = row.filter(|row| row.kind == Kind::Histogram);
        of_kind.any(|row| row.name == base).then(|| base.to_owned())
    });
    histogram.unwrap_or_else(|| name.to_owned())
}

/// Every metric and label value that is asked for is one that is exported.
fn assert_exported(expression: &str, exported: &Exported) {
    let kinds = exported.kinds();
    let asked = metrics_in(expression);
    assert!(
        !asked.is_empty() || expression.contains("up{"),
        "{expression}"
    );
    for (name, matchers) in asked {
        assert!(kinds.contains_key(&base(&name)), "{name}: {expression}");
        let own = |(label, _): &(String, String)| !["instance", "job"].contains(&label.as_str());
        for (label, value) in matchers.into_iter().filter(own) {
            let values = exported.values_of(&name, &label);
            assert!(!values.is_empty(), "{name} has no {label}: {expression}");
            let is_known = |value: &str| values.contains(value);
            let alternatives = value.split('|').all(is_known);
            assert!(
                alternatives || value == ".+",
                "{label}={value}: {expression}"
            );
        }
    }
}

/// The labels by which an expression groups.
fn groups_in(expression: &str) -> BTreeSet<String> {
    let after = expression.split("by (").skip(1);
    after
        .flat_map(|rest| rest.split(')').next().unwrap_or_default().split(", "))
        .map(str::to_owned)
        .collect()
}

#[test]
fn dashboard_and_alerts_ask_for_what_is_exported() {
    let (_site, pages, _server) = site_with_blocklist();
    // After the first measurement of the store.
    let exported = until("all that there is", PATIENCE, || {
        let exported = pages.metrics();
        let kinds = exported.kinds();
        let all = MEASURES.iter().map(|row| row.measure());
        all.into_iter()
            .all(|row| kinds.get(row.name).map(String::as_str) == Some(row.kind.as_str()))
            .then_some(exported)
    });
    let names: BTreeSet<String> = MEASURES
        .iter()
        .map(|row| row.measure().name.to_owned())
        .collect();
    let exported_names: BTreeSet<String> = exported.kinds().into_keys().collect();
    assert_eq!(exported_names, names, "a metric that is not in the table");

    let (dashboard, alerts) = (of_dashboard(), of_alerts());
    assert!(dashboard.len() > 20 && alerts.len() > 12);
    let labels: BTreeSet<String> = MEASURES
        .iter()
        .flat_map(|row| row.measure().labels.iter().map(|label| (*label).to_owned()))
        .chain(["le", "instance", "job"].map(str::to_owned))
        .collect();
    for expression in dashboard.iter().chain(&alerts) {
        assert_exported(expression, &exported);
        assert!(groups_in(expression).is_subset(&labels), "{expression}");
    }
    let shown: BTreeSet<String> = dashboard
        .iter()
        .flat_map(|expression| metrics_in(expression))
        .map(|(name, _)| base(&name))
        .collect();
    let unseen: Vec<&String> = names.difference(&shown).collect();
    assert!(unseen.is_empty(), "not in the dashboard: {unseen:?}");
}

#[test]
fn prometheus_takes_the_alerts_and_they_fire_when_they_should() {
    let check = |arguments: [&str; 2], name: &str| {
        run(
            Command::new("promtool")
                .args(arguments)
                .arg(monitoring(name)),
            b"",
        )
    };
    check(["check", "rules"], "alerts.yml");
    check(["test", "rules"], "alerts-test.yml");
    for alert in text("alerts.yml").split("- alert: ").skip(1) {
        for field in ["severity:", "summary:", "description:"] {
            assert!(alert.contains(field), "{field} {alert}");
        }
    }
    // The exporter's own words are right for Prometheus, too.
    let layout = House::layout();
    let pages = Pages::configure(&layout);
    let gateway = layout.start_gateway();
    let metrics = pages.metrics();
    run(
        Command::new("promtool").args(["check", "metrics"]),
        metrics.text().as_bytes(),
    );
    assert!(gateway.stop().success());
}
