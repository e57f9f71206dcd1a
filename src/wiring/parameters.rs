//! Every parameter of Postfix, from `parameters.tsv`, and its effect on the gateway's
//! services: overridden, harmless, or checked by `check`.

use thiserror::Error;

use super::services::{Role, SERVICES};

const TABLE: &str = include_str!("parameters.tsv");

/// Stands for a transport's name, as in Postfix's documentation.
const ANY_TRANSPORT: &str = "transport_";

/// A parameter of main.cf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// The name; `transport_…` for parameters that begin with a transport's name.
    pub name: &'static str,
    /// The possible effect on the gateway's services.
    pub standing: Standing,
}

/// The possible effect of a parameter on the gateway's services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It would harm services, which override it.
    Overridden {
        /// The services that override it.
        at: Vec<Role>,
        /// A value that harms a service without the override.
        hostile: &'static str,
    },
    /// It would harm services without the override of another parameter.
    Covered {
        /// A value that harms a service without that override.
        hostile: &'static str,
        /// The other parameter, or the column of master.cf.
        by: &'static str,
    },
    /// It can harm services, and none can override it: `check` looks at it.
    Warned(&'static str),
    /// It is harmless, for this reason.
    Harmless(&'static str),
}

/// Reasons that many parameters share. The first lines of the table explain them.
const SHARED_REASONS: [&str; 9] = [
    "another-daemon",
    "whole-postfix",
    "only-logged",
    "no-tls",
    "no-login",
    "no-restriction",
    "no-lookup",
    "recipient",
    "queue",
];

/// A row of the table that can't be parsed.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "src/wiring/parameters.tsv: the row {0:?} is not as the first lines of the file describe it; mend it there"
)]
pub struct Malformed(&'static str);

/// The whole table, in the order of names.
///
/// # Errors
///
/// If a row is malformed. The tests keep such a row out of a release.
pub fn parameters() -> Result<Vec<Parameter>, Malformed> {
    let rows = TABLE.lines().filter(|line| !line.starts_with('#'));
    rows.map(|row| parse(row).ok_or(Malformed(row))).collect()
}

fn parse(row: &'static str) -> Option<Parameter> {
    let mut columns = row.split('\t');
    let (name, standing) = (columns.next()?, columns.next()?);
    let standing = match standing {
        "covered" => Standing::Covered {
            hostile: columns.next()?,
            by: columns.next()?,
        },
        "warned" => Standing::Warned(columns.next()?),
        "harmless" => Standing::Harmless(columns.next()?),
        reason if SHARED_REASONS.contains(&reason) => Standing::Harmless(reason),
        services => Standing::Overridden {
            at: roles(services)?,
            hostile: columns.next()?,
        },
    };
    let is_whole = columns.next().is_none() && row.split('\t').all(|column| !column.is_empty());
    is_whole.then_some(Parameter { name, standing })
}

/// Parses roles such as `internal,replies`.
fn roles(words: &str) -> Option<Vec<Role>> {
    let roles = SERVICES.map(|service| service.role);
    let role = |word| roles.into_iter().find(|role| role.as_str() == word);
    words.split(',').map(role).collect()
}

/// The row of a parameter that postconf(1) names. A transport's parameter is found by the
/// part after the transport's name.
pub fn find<'a>(table: &'a [Parameter], name: &str) -> Option<&'a Parameter> {
    let exact = table.iter().find(|row| row.name == name);
    exact.or_else(|| {
        table.iter().find(|row| {
            let suffix = row.name.strip_prefix(ANY_TRANSPORT);
            suffix.is_some_and(|suffix| {
                name.strip_suffix(suffix)
                    .is_some_and(|transport| transport.len() > 1 && transport.ends_with('_'))
            })
        })
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::wiring::services::OF_TRANSPORT;

    #[test]
    fn names_are_in_order_and_none_stands_twice() {
        let table = parameters().unwrap();
        for pair in table.windows(2) {
            assert!(
                pair[0].name < pair[1].name,
                "{} before {}",
                pair[0].name,
                pair[1].name
            );
        }
    }

    #[test]
    fn the_services_override_what_the_table_says_and_nothing_else() {
        let mut overridden: BTreeMap<&str, BTreeSet<Role>> = BTreeMap::new();
        for service in SERVICES {
            for it in service.overrides() {
                overridden
                    .entry(it.parameter)
                    .or_default()
                    .insert(service.role);
            }
        }
        let table = parameters().unwrap();
        let listed = table.iter().filter_map(|row| match &row.standing {
            Standing::Overridden { at, .. } => Some((row.name, at.iter().copied().collect())),
            _ => None,
        });
        assert_eq!(listed.collect::<BTreeMap<_, BTreeSet<_>>>(), overridden);
    }

    #[test]
    fn what_covers_a_parameter_is_there() {
        let of_services = SERVICES.iter().flat_map(|service| service.overrides());
        let overrides: BTreeSet<&str> = of_services
            .map(|it| it.parameter)
            .chain(OF_TRANSPORT.map(|it| it.parameter))
            .collect();
        for row in parameters().unwrap() {
            if let Standing::Covered { by, .. } = row.standing {
                let is_known = overrides.contains(by) || by.starts_with("the column ");
                assert!(is_known, "{}: {by}", row.name);
            }
        }
    }

    #[test]
    fn a_transports_own_parameters_are_found_by_their_ends() {
        let table = parameters().unwrap();
        let found = |name| find(&table, name).map(|row| row.name);
        assert_eq!(
            found("smtp-amavis_destination_rate_delay"),
            Some("transport_destination_rate_delay")
        );
        assert_eq!(found("smtpd_milters"), Some("smtpd_milters"));
        assert_eq!(found("_destination_rate_delay"), None);
        assert_eq!(found("nosuch"), None);
    }

    #[test]
    fn a_row_has_the_columns_of_its_standing_and_no_others() {
        for row in [
            "a",
            "a\tnosuch\tb",
            "a\tcovered\tb",
            "a\tno-tls\tb",
            "a\twarned",
            "a\treplies\t",
        ] {
            assert_eq!(parse(row), None, "{row}");
        }
    }
}
