//! Postfix's lists: elements separated by commas and blanks. Braces keep an element together.

use std::fmt::{self, Display, Formatter};

/// A list of main.cf. It is written back with the admin's own separators.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct List(Vec<Element>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Element {
    /// The commas and blanks before it.
    separator: String,
    text: String,
}

impl List {
    pub(super) fn parse(text: &str) -> Self {
        let mut elements = Vec::new();
        let (mut separator, mut element, mut depth) = (String::new(), String::new(), 0_usize);
        for character in text.chars() {
            match character {
                '{' => depth += 1,
                '}' => depth = depth.saturating_sub(1),
                ',' | ' ' | '\t' | '\r' | '\n' if depth == 0 => {
                    if !element.is_empty() {
                        elements.push(Element {
                            separator: std::mem::take(&mut separator),
                            text: std::mem::take(&mut element),
                        });
                    }
                    separator.push(character);
                    continue;
                }
                _ => {}
            }
            element.push(character);
        }
        if !element.is_empty() {
            elements.push(Element {
                separator,
                text: element,
            });
        }
        Self(elements)
    }

    pub(super) fn elements(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|element| element.text.as_str())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The elements for which `is_kept` is true, and the last of the others.
    pub(super) fn split(self, is_kept: impl Fn(&str) -> bool) -> (Self, Option<String>) {
        let (kept, others): (Vec<_>, Vec<_>) = self
            .0
            .into_iter()
            .partition(|element| is_kept(&element.text));
        let other = others.into_iter().next_back();
        (Self(kept), other.map(|element| element.text))
    }

    /// Replaces each element for which `replacement` returns a text. An element that
    /// becomes empty is left out.
    pub(super) fn map(self, replacement: impl Fn(&str) -> Option<String>) -> Self {
        let elements = self.0.into_iter().filter_map(|element| {
            let text = replacement(&element.text).unwrap_or(element.text);
            (!text.is_empty()).then_some(Element {
                separator: element.separator,
                text,
            })
        });
        Self(elements.collect())
    }
}

impl Display for List {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (number, element) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str(&element.separator)?;
            }
            f.write_str(&element.text)?;
        }
        Ok(())
    }
}

/// Whether a milter such as `{ inet:localhost:8890, default_action=accept }` is at `socket`.
pub(super) fn is_at(milter: &str, socket: &str) -> bool {
    !socket.is_empty() && endpoint(milter) == socket
}

/// The socket of a milter, without the braces and settings around it.
pub(super) fn endpoint(milter: &str) -> &str {
    let inner = milter.strip_prefix('{').unwrap_or(milter).trim_start();
    let end = inner.find([',', '}', ' ', '\t', '\n']);
    inner.get(..end.unwrap_or(inner.len())).unwrap_or(inner)
}

/// The value of a milter's own setting, such as `default_action`.
pub(super) fn milter_setting(milter: &str, name: &str) -> Option<String> {
    let inner = milter.strip_prefix('{')?.strip_suffix('}')?;
    inner.split(',').skip(1).find_map(|setting| {
        let (found, value) = setting.split_once('=')?;
        (found.trim() == name).then(|| value.trim().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_list_is_divided_outside_braces_and_written_back() {
        let text = "inet:localhost:8891,\n\t{ unix:a, default_action=accept } , $more";
        let list = List::parse(text);
        let elements: Vec<&str> = list.elements().collect();
        assert_eq!(
            elements,
            [
                "inet:localhost:8891",
                "{ unix:a, default_action=accept }",
                "$more"
            ]
        );
        assert_eq!(list.to_string(), text);
        let (rest, taken) = list.split(|element| !is_at(element, "unix:a"));
        assert_eq!(rest.to_string(), "inet:localhost:8891 , $more");
        assert_eq!(taken.as_deref(), Some("{ unix:a, default_action=accept }"));
    }

    #[test]
    fn a_milter_is_known_by_its_socket() {
        for milter in [
            "inet:h:1",
            "{inet:h:1}",
            "{ inet:h:1, a=b }",
            "{\tinet:h:1 }",
        ] {
            assert!(is_at(milter, "inet:h:1"), "{milter}");
        }
        assert!(!is_at("inet:h:12", "inet:h:1"));
        assert!(!is_at("", ""));
        assert_eq!(
            milter_setting("{ inet:h:1, default_action = accept }", "default_action").as_deref(),
            Some("accept")
        );
    }

    proptest! {
        #[test]
        fn elements_are_never_empty(text in "[a{}, \n]{0,40}") {
            let list = List::parse(&text);
            prop_assert!(list.elements().all(|element| !element.is_empty()));
            let again = List::parse(&list.to_string());
            prop_assert_eq!(
                again.elements().collect::<Vec<_>>(),
                list.elements().collect::<Vec<_>>()
            );
        }
    }
}
