//! Finds one of many by its whole name, or by a beginning that no other has.

use super::CommandError;
use crate::printable::Printable;

/// How many candidates an error lists.
const CANDIDATES: usize = 10;

/// The words for a kind of thing that has names.
pub(super) struct Named {
    pub(super) one: &'static str,
    pub(super) many: &'static str,
    /// The remedy if a name fits none.
    pub(super) remedy: &'static str,
}

impl Named {
    /// Finds the one with this name, or else the only one whose name begins so.
    pub(super) fn find<'a, T>(
        &self,
        name: &str,
        all: &'a [T],
        name_of: impl Fn(&T) -> &str,
    ) -> Result<&'a T, CommandError> {
        if let Some(whole) = all.iter().find(|one| name_of(one) == name) {
            return Ok(whole);
        }
        let begins = |one: &&T| !name.is_empty() && name_of(one).starts_with(name);
        let found: Vec<&T> = all.iter().filter(begins).collect();
        match found.as_slice() {
            [one] => Ok(one),
            many => Err(self.not_one(name, many.iter().map(|one| name_of(one)))),
        }
    }

    /// The error for a name that fits none, or more than one.
    pub(super) fn not_one(
        &self,
        name: &str,
        found: impl ExactSizeIterator<Item = impl ToString>,
    ) -> CommandError {
        let count = found.len();
        if count == 0 {
            let Self { one, remedy, .. } = self;
            return CommandError::other(format_args!("no {one} is named {name:?}: {remedy}"));
        }
        let shown: Vec<String> = found
            .take(CANDIDATES)
            .map(|one| Printable(&one.to_string()).to_string())
            .collect();
        let more = if count > shown.len() { "\n…" } else { "" };
        CommandError::other(format_args!(
            "{count} {} are named {name:?}; write more of one's name:\n{}{more}",
            self.many,
            shown.join("\n")
        ))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    const FRUITS: Named = Named {
        one: "fruit",
        many: "fruits",
        remedy: "fruit list lists them",
    };

    fn find<'a>(name: &str, all: &'a [String]) -> Result<&'a str, String> {
        let found = FRUITS.find(name, all, String::as_str);
        found.map(String::as_str).map_err(|error| error.to_string())
    }

    #[test]
    fn a_whole_name_wins_and_a_beginning_must_be_of_one() {
        let all = ["pear", "pearl", "plum"].map(str::to_owned);
        assert_eq!(find("pear", &all), Ok("pear"));
        assert_eq!(find("pl", &all), Ok("plum"));
        let error = find("pe", &all).unwrap_err();
        assert_eq!(
            error,
            "2 fruits are named \"pe\"; write more of one's name:\npear\npearl"
        );
        for none in ["", "Pear", "x", "plums"] {
            let error = find(none, &all).unwrap_err();
            let expected = format!("no fruit is named {none:?}: fruit list lists them");
            assert_eq!(error, expected);
        }
    }

    #[test]
    fn an_error_lists_so_many_and_no_more() {
        let all: Vec<String> = (0..1_000).map(|number| format!("fig {number}")).collect();
        let error = find("fig", &all).unwrap_err();
        assert!(error.starts_with("1000 fruits") && error.ends_with("\n…"));
        assert_eq!(error.lines().count(), CANDIDATES + 2);
    }

    proptest! {
        #[test]
        fn what_is_found_begins_so_and_alone(
            all in prop::collection::btree_set("[ab]{1,4}", 0..9),
            name in "[ab]{0,4}",
        ) {
            let all: Vec<String> = all.into_iter().collect();
            if let Ok(found) = find(&name, &all) {
                let others = all.iter().filter(|one| one.starts_with(&name));
                prop_assert!(found == name || others.count() == 1);
                prop_assert!(found.starts_with(&name));
            }
        }
    }
}
