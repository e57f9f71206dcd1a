//! `log.level`: a level for the gateway, and levels for its libraries.

use std::{fmt, str::FromStr};

use crate::as_text::as_text;

/// The levels that a line of the log may have.
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// The target of the gateway's own lines.
const OWN_TARGET: &str = "kms_gateway";

/// The start of the DNS resolver's targets. Its lines hold the names that it asks for.
const RESOLVER: &str = "hickory";

/// The lines that are logged: `info`, or a list such as `info,hyper=debug`, as in
/// tracing's filters. tracing takes a word that is no level for a part of the program,
/// and silences all others. So such a word is refused here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogLevel(String);

impl LogLevel {
    /// The default level.
    #[must_use]
    pub(crate) fn info() -> Self {
        Self("info".to_owned())
    }
}

impl FromStr for LogLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let directives: Vec<Directive<'_>> = text
            .split(',')
            .map(|directive| Directive::parse(directive.trim()))
            .collect::<Result<_, _>>()?;
        match directives.iter().any(Directive::is_about_the_gateway) {
            true => Ok(Self(listed(&directives))),
            false => Err(format!(
                "{text:?} says nothing of the gateway's own lines, and would silence them; write a \
                 level first, such as \"info,{text}\""
            )),
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

as_text!(LogLevel);

fn listed(directives: &[Directive<'_>]) -> String {
    let texts: Vec<String> = directives.iter().map(ToString::to_string).collect();
    texts.join(",")
}

/// A level for one target, or for all targets that no other directive names.
struct Directive<'a> {
    target: Option<&'a str>,
    level: String,
}

impl fmt::Display for Directive<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(target) = self.target {
            write!(formatter, "{target}=")?;
        }
        formatter.write_str(&self.level)
    }
}

impl<'a> Directive<'a> {
    fn parse(text: &'a str) -> Result<Self, String> {
        let (target, level) = match text.split_once('=') {
            Some((target, level)) => (Some(target.trim()), level.trim()),
            None => (None, text),
        };
        let level = level.to_ascii_lowercase();
        // A library may be silenced, but not the gateway.
        let is_level = LEVELS.contains(&level.as_str()) || target.is_some() && level == "off";
        if !is_level {
            return Err(format!(
                "{level:?} is no level; the levels are {}",
                LEVELS.join(", ")
            ));
        }
        match target {
            Some(target) if target.starts_with(RESOLVER) => Err(format!(
                "{target:?} would log the names that block lists are asked for, keys included"
            )),
            Some(target) if !is_target(target) => Err(format!(
                "{target:?} is no part of the program, such as \"hyper\""
            )),
            target => Ok(Self { target, level }),
        }
    }

    fn is_about_the_gateway(&self) -> bool {
        self.target.is_none_or(|target| target == OWN_TARGET) && self.level != "off"
    }
}

fn is_target(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ':');
    !text.is_empty() && text.chars().all(is_part)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;
    use tracing_subscriber::EnvFilter;

    use super::*;

    fn refusal(text: &str) -> String {
        text.parse::<LogLevel>().unwrap_err()
    }

    #[test]
    fn levels_and_lists_of_them_are_taken() {
        for text in [
            "error",
            "warn",
            "info",
            "debug",
            "trace",
            "INFO",
            "info,hyper=debug",
            "warn, indymilter=off",
            "kms_gateway=info",
            "kms_gateway::milter=trace,info",
        ] {
            let level: LogLevel = text.parse().unwrap();
            assert!(EnvFilter::try_new(level.to_string()).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_level_is_kept_as_tracing_reads_it() {
        for (text, kept) in [
            ("Info", "info"),
            (" debug , Hyper = WARN", "debug,Hyper=warn"),
        ] {
            assert_eq!(text.parse::<LogLevel>().unwrap().to_string(), kept);
        }
    }

    #[test]
    fn what_is_no_level_is_refused_with_the_names_of_the_levels() {
        for text in [
            "warning",
            "information",
            "notice",
            "err",
            "off",
            "none",
            "3",
            "",
            " ",
            "info,",
            "info;hyper",
            "kms_gateway",
            "hyper=loud,info",
            "info,hyper",
        ] {
            let refusal = refusal(text);
            assert!(
                refusal.contains("error, warn, info, debug, trace"),
                "{text:?}: {refusal}"
            );
        }
        for text in ["info,=debug", "info;hyper=debug", "info,[span]=debug"] {
            assert!(refusal(text).contains("no part of the program"), "{text}");
        }
    }

    #[test]
    fn the_resolver_is_kept_silent() {
        for text in ["info,hickory_net=trace", "debug,hickory_resolver::x=warn"] {
            assert!(refusal(text).contains("keys included"), "{text}");
        }
    }

    #[test]
    fn a_list_that_silences_the_gateway_is_refused() {
        for text in ["hyper=debug", "indymilter=off,hyper=warn", "milter=info"] {
            assert!(refusal(text).contains("silence"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_taken_is_a_filter(text in "[a-z_:=, ]{0,20}|(info|hyper|=|,|off| ){0,8}") {
            if let Ok(level) = text.parse::<LogLevel>() {
                prop_assert!(EnvFilter::try_new(level.to_string()).is_ok());
            }
        }
    }
}
