//! Takes the installer's entries out of the copies of main.cf and master.cf.

use super::{
    WiringError,
    kept::{Changed, Kept},
    list::List,
    postconf::{Change, Postconf},
    service::TRANSPORT,
    stage::Stage,
    verification,
};

/// Whether an element of a list of tables is the gateway's.
pub(super) fn is_our_map(map: &str) -> bool {
    let marks = [format!("{TRANSPORT}:["), verification::ROUTE.to_owned()];
    map.starts_with("inline:{") && marks.iter().any(|mark| map.contains(mark))
}

/// Takes the gateway's elements out of a list in main.cf.
pub(super) fn take_out(
    stage: &mut Stage,
    kept: &Kept,
    parameter: &str,
    is_ours: impl Fn(&str) -> bool,
) -> Result<(), WiringError> {
    let present = stage.postconf().written(parameter)?;
    match List::parse(&present).split(|element| !is_ours(element)) {
        (_, None) => Ok(()),
        (rest, Some(_)) => {
            let words = format!("main.cf: {parameter} without the gateway:");
            restore_parameter(stage, kept, parameter, &rest.to_string(), words)
        }
    }
}

/// Sets a parameter of main.cf to its value without the gateway. A parameter that the
/// installer added is removed.
pub(super) fn restore_parameter(
    stage: &mut Stage,
    kept: &Kept,
    parameter: &str,
    value: &str,
    words: impl Into<String>,
) -> Result<(), WiringError> {
    let was_set = match kept.original(Changed::Main).exists() {
        true => Postconf::at(kept.directory()).sets(parameter),
        false => stage.before().sets(parameter),
    }?;
    let is_default = value == stage.postconf().default(parameter)?;
    let change = match !was_set && is_default {
        true => Change::Remove {
            parameter: parameter.to_owned(),
        },
        false => Change::set(parameter, value),
    };
    stage.change(words, &change)
}

/// Takes a service of the gateway out of master.cf.
pub(super) fn drop_service(stage: &mut Stage, kept: &Kept, key: &str) -> Result<(), WiringError> {
    let Some(present) = stage.postconf().entry(key)? else {
        return Ok(());
    };
    if !kept.is_ours(&format!("service:{key}"), &present) {
        stage.report.warn(format!(
            "master.cf: the service {key} was edited; this was its text: {present}"
        ));
    }
    let change = Change::RemoveService {
        key: key.to_owned(),
    };
    stage.change(format!("master.cf: without the service {key}:"), &change)
}
