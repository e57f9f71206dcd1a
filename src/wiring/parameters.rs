//! Every parameter of Postfix, from `parameters.tsv`: overridden by the gateway's
//! services, harmless to them, or something that `check` warns of.

use thiserror::Error;

use super::services::Role;

const TABLE: &str = include_str!("parameters.tsv");

/// What Postfix's documentation writes for a transport's name.
const ANY_TRANSPORT: &str = "transport_";

/// A parameter of main.cf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name; `transport_…` for those that begin with a transport's name.
    pub name: &'static str,
    /// What it may do to the gateway's services.
    pub standing: Standing,
}

/// What a parameter may do to the gateway's services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It would harm them, and they override it.
    Overridden {
        /// The services that do.
        at: Vec<Role>,
        /// A value that harms a service without the override.
        hostile: &'static str,
    },
    /// It would harm them, and the override of another parameter keeps it away.
    Covered {
        /// A value that harms a service without that.
        hostile: &'static str,
        /// What keeps it away.
        by: &'static str,
    },
    /// It can harm them, and no service can override it: `check` looks.
    Warned(&'static str),
    /// It cannot harm them, for a reason that many share.
    Harmless(Kind),
    /// It cannot harm them, for this reason.
    Reasoned(&'static str),
}

/// A reason why a parameter is harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Neither smtpd(8), smtp(8) nor cleanup(8) reads it.
    AnotherDaemon,
    /// Whatever it does, it does to all mail of this Postfix.
    WholePostfix,
    /// It changes what is logged or reported, and no mail.
    OnlyLogged,
    /// Only TLS uses it, which is off.
    NoTls,
    /// Only SASL uses it, which is off.
    NoLogin,
    /// Only restrictions and access maps use it, of which there are none.
    NoRestriction,
    /// The transport's next hop is an address: nothing is looked up.
    NoLookup,
    /// It says where the recipient of a reply gets all mail.
    Recipient,
    /// It says when, and how much at once, the queue manager takes up.
    Queue,
}

impl Kind {
    const ALL: [(&'static str, Self); 9] = [
        ("another-daemon", Self::AnotherDaemon),
        ("whole-postfix", Self::WholePostfix),
        ("only-logged", Self::OnlyLogged),
        ("no-tls", Self::NoTls),
        ("no-login", Self::NoLogin),
        ("no-restriction", Self::NoRestriction),
        ("no-lookup", Self::NoLookup),
        ("recipient", Self::Recipient),
        ("queue", Self::Queue),
    ];
}

/// A row of the table that is none.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "src/wiring/parameters.tsv: the row {0:?} is not as the first lines of the file describe it; mend it there"
)]
pub struct Malformed(&'static str);

/// The whole table, in the order of names.
///
/// # Errors
///
/// If a row is malformed, which no released program has.
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
        "harmless" => Standing::Reasoned(columns.next()?),
        word => match Kind::ALL.into_iter().find(|(known, _)| *known == word) {
            Some((_, kind)) => Standing::Harmless(kind),
            None => Standing::Overridden {
                at: roles(word)?,
                hostile: columns.next()?,
            },
        },
    };
    let is_whole = columns.next().is_none() && row.split('\t').all(|column| !column.is_empty());
    is_whole.then_some(Parameter { name, standing })
}

/// `internal,replies`
fn roles(words: &str) -> Option<Vec<Role>> {
    let role = |word| Role::ALL.into_iter().find(|role| role.as_str() == word);
    words.split(',').map(role).collect()
}

/// The row of a parameter that postconf(1) names. Those of a transport are found
/// by what follows its name.
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
    use crate::wiring::services::{OF_TRANSPORT, SERVICES};

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
