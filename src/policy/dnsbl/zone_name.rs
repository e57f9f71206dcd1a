//! The name of a zone. A commercial block list has its customer's key in the name
//! that is asked. Nobody else may learn that key, so a public name is shown instead.

use std::fmt::{self, Debug, Display, Formatter};

/// Shown in place of a key.
const HIDDEN: &str = "<key>";

/// Domains of block lists whose customers put their key before a list's name, and
/// the number of labels of that name before the domain.
const WITH_KEYS: &[(&str, usize)] = &[
    ("dq.spamhaus.net", 1),
    ("mail.abusix.zone", 1),
    ("score.senderscore.com", 1),
    ("df.uribl.com", 0),
];

/// The length of the shortest key. Shorter words occur in ordinary sentences.
const SHORTEST_KEY: usize = 4;

/// The name of a zone that is asked, and the name that is shown. Two names are
/// equal if they ask the same zone.
#[derive(Clone)]
pub(crate) struct ZoneName {
    asked: String,
    public: String,
}

impl ZoneName {
    /// The zone `asked`, a domain in lower case. The public name leaves out labels
    /// that look like a key.
    pub(super) fn new(asked: String) -> Self {
        let labels: Vec<&str> = asked.split('.').collect();
        let keys = key_labels(&asked, &labels);
        let public: Vec<&str> = labels
            .iter()
            .zip(&keys)
            .filter_map(|(label, is_key)| (!is_key).then_some(*label))
            .collect();
        let public = public.join(".");
        Self { asked, public }
    }

    /// The same zone with another public name.
    pub(crate) fn shown_as(self, public: String) -> Self {
        Self { public, ..self }
    }

    /// The domain to look up. Only the name server may see it.
    pub(crate) fn asked(&self) -> &str {
        &self.asked
    }

    /// The name that everybody may see.
    pub(crate) fn public(&self) -> &str {
        &self.public
    }

    /// Whether part of the name is a key, which only the name server may see.
    pub(crate) fn has_key(&self) -> bool {
        self.asked != self.public
    }

    /// `text`, which may quote the name that was asked, without its key.
    pub(crate) fn hide_in(&self, text: &str) -> String {
        if !self.has_key() {
            return text.to_owned();
        }
        let shown = replaced(text, &self.asked, &self.public);
        let secrets = self.secret_labels();
        secrets
            .iter()
            .fold(shown, |shown, secret| replaced(&shown, secret, HIDDEN))
    }

    /// The form of `config get`, which can't be asked.
    pub(crate) fn masked(&self) -> String {
        match (self.has_key(), self.prefix()) {
            (false, _) => self.public.clone(),
            (true, Some(_)) => format!("{HIDDEN}.{}", self.public),
            (true, None) => HIDDEN.to_owned(),
        }
    }

    /// The labels before the public name, if the name ends with that.
    fn prefix(&self) -> Option<&str> {
        self.asked.strip_suffix(&self.public)?.strip_suffix('.')
    }

    fn secret_labels(&self) -> Vec<&str> {
        let is_long = |label: &&str| label.len() >= SHORTEST_KEY;
        match self.prefix() {
            Some(prefix) => prefix.split('.').filter(is_long).collect(),
            None => {
                let labels: Vec<&str> = self.asked.split('.').collect();
                let keys = key_labels(&self.asked, &labels);
                let first_or_key = |(place, label): (usize, &&'_ str)| {
                    place == 0 && !self.public.split('.').any(|own| own == *label)
                        || keys.get(place) == Some(&true)
                };
                let secrets = labels.iter().enumerate();
                let secrets = secrets.filter(|(place, label)| first_or_key((*place, label)));
                secrets.map(|(_, label)| *label).filter(is_long).collect()
            }
        }
    }
}

impl PartialEq for ZoneName {
    fn eq(&self, other: &Self) -> bool {
        self.asked == other.asked
    }
}

impl Eq for ZoneName {}

impl Display for ZoneName {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.public)
    }
}

impl Debug for ZoneName {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Debug::fmt(&self.public, f)
    }
}

/// A text of the configuration without labels that look like a key. A zone in it
/// may be misspelt.
pub(crate) fn without_keys(text: &str) -> String {
    let is_label = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
    let mut shown = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(is_label) {
        let (before, from_label) = rest.split_at(start);
        let end = from_label
            .find(|c| !is_label(c))
            .unwrap_or(from_label.len());
        let (label, after) = from_label.split_at(end);
        shown.push_str(before);
        shown.push_str(match looks_like_key(&label.to_ascii_lowercase()) {
            true => HIDDEN,
            false => label,
        });
        rest = after;
    }
    shown + rest
}

/// Whether each label is a key.
fn key_labels(name: &str, labels: &[&str]) -> Vec<bool> {
    // A list's domain is no key, however long.
    let domain_begins = labels.len().saturating_sub(2);
    let list_begins = WITH_KEYS.iter().find_map(|(domain, of_list)| {
        let before = name.strip_suffix(domain)?.strip_suffix('.')?;
        Some(before.split('.').count().saturating_sub(*of_list))
    });
    let is_key = |(place, label): (usize, &&str)| {
        list_begins.is_some_and(|begins| place < begins)
            || place < domain_begins && looks_like_key(label)
    };
    labels.iter().enumerate().map(is_key).collect()
}

/// Whether a label is a UUID, or a long word of letters and digits that nobody
/// would choose for a name.
fn looks_like_key(label: &str) -> bool {
    let core: Vec<u8> = label
        .bytes()
        .filter(|byte| !matches!(byte, b'-' | b'_'))
        .collect();
    let digits = core.iter().filter(|byte| byte.is_ascii_digit()).count();
    let is_one_word = core.len() == label.len();
    match core.len() {
        0..16 => false,
        16..20 => digits >= 3,
        _ => digits > 0 || is_one_word,
    }
}

/// `text` with `word` replaced, in whatever case it is written.
fn replaced(text: &str, word: &str, by: &str) -> String {
    // In ASCII, which the word is, places are the same in lower case.
    let lower = text.to_ascii_lowercase();
    let mut shown = String::new();
    let mut end = 0;
    for (start, _) in lower.match_indices(word) {
        shown.push_str(text.get(end..start).unwrap_or_default());
        shown.push_str(by);
        end = start + word.len();
    }
    shown + text.get(end..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "aaaabbbbccccddddeeee";

    fn zone(asked: &str) -> ZoneName {
        ZoneName::new(asked.to_owned())
    }

    #[test]
    fn what_looks_like_a_key_is_left_out_of_the_public_name() {
        for (asked, public) in [
            (
                "aaaabbbbccccddddeeee.zen.dq.spamhaus.net",
                "zen.dq.spamhaus.net",
            ),
            ("short.zen.dq.spamhaus.net", "zen.dq.spamhaus.net"),
            ("k.ey.authbl.dq.spamhaus.net", "authbl.dq.spamhaus.net"),
            (
                "0a1b2c.combined.mail.abusix.zone",
                "combined.mail.abusix.zone",
            ),
            ("abc.bl.score.senderscore.com", "bl.score.senderscore.com"),
            ("abc.df.uribl.com", "df.uribl.com"),
            ("qwertyuiopasdfghjklz.bl.example", "bl.example"),
            ("0123456789abcdef.bl.example", "bl.example"),
            (
                "customer.0123456789abcdef.bl.example",
                "customer.bl.example",
            ),
            ("bl.0123456789abcdef.lists.example", "bl.lists.example"),
            (
                "123e4567-e89b-12d3-a456-426614174000.bl.example",
                "bl.example",
            ),
        ] {
            assert_eq!(zone(asked).public(), public, "{asked}");
            assert!(zone(asked).has_key(), "{asked}");
        }
    }

    #[test]
    fn public_zones_are_shown_as_they_are() {
        for asked in [
            "zen.spamhaus.org",
            "zen.dq.spamhaus.net",
            "list.dnswl.org",
            "bl.example",
            "example",
            "b.barracudacentral.org",
            "truncate.gbudb.net",
            "combined-blocklist-of-all.example.org",
            "averyverylongcompanyname2024.example",
            "bl.averyverylongcompanyname2024.example",
        ] {
            assert_eq!(zone(asked).public(), asked);
            assert!(!zone(asked).has_key(), "{asked}");
        }
    }

    #[test]
    fn no_form_shows_the_key() {
        let asked = format!("{KEY}.zen.dq.spamhaus.net");
        for zone in [
            zone(&asked),
            zone(&asked).shown_as("spamhaus".to_owned()),
            zone(&asked).shown_as("zen.example".to_owned()),
        ] {
            let quoting = format!("query {asked} for {}: {KEY}", asked.to_ascii_uppercase());
            for shown in [
                zone.to_string(),
                format!("{zone:?}"),
                zone.masked(),
                zone.hide_in(&quoting),
                without_keys(&format!("zone {asked}..")),
            ] {
                assert!(!shown.to_ascii_lowercase().contains(KEY), "{shown}");
            }
            assert_eq!(zone.asked(), asked);
        }
    }

    #[test]
    fn a_short_key_is_hidden_in_what_quotes_it() {
        let zone = zone("s3cret.bl.example").shown_as("bl.example".to_owned());
        assert_eq!(
            zone.hide_in("9.2.0.192.S3CRET.BL.EXAMPLE, s3cret at bl.example"),
            "9.2.0.192.bl.example, <key> at bl.example"
        );
        assert_eq!(zone.masked(), "<key>.bl.example");
    }

    proptest! {
        #[test]
        fn a_key_never_shows(
            key in "[a-z0-9]{20,40}",
            list in "[a-z]{2,6}",
            around in "\\PC{0,10}",
            upper in any::<bool>(),
        ) {
            let zone = zone(&format!("{key}.{list}.example.org"));
            let asked = match upper {
                true => zone.asked().to_ascii_uppercase(),
                false => zone.asked().to_owned(),
            };
            let shown = zone.hide_in(&format!("{around}{asked}{around}{key}"));
            prop_assert!(!shown.to_ascii_lowercase().contains(&key), "{}", shown);
            prop_assert!(!zone.to_string().contains(&key));
        }

        #[test]
        fn any_text_is_shown(text in "\\PC*") {
            let _ = without_keys(&text);
            let _ = zone("s3cret.bl.example").hide_in(&text);
        }
    }
}
