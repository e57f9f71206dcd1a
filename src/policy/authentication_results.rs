//! Reads `Authentication-Results` (RFC 8601 2.2). Knows the syntax, but not which
//! host to believe or what a result means.

use std::iter::Peekable;

use crate::mail::lexer::{Kind, Lexer, Syntax, Token, is_blank_or_control, unquoted};

/// One host's results of authenticating a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AuthenticationResults {
    /// Name under which the host that verified the message writes (RFC 8601 2.5).
    pub(super) authserv_id: AuthservId,
    /// The results, method by method. Malformed statements are left out.
    pub(super) results: Vec<MethodResult>,
}

/// The name of the host (RFC 8601 2.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AuthservId {
    /// In lower case, without a trailing dot.
    host: String,
    /// Whether the host names the message behind a `/`, as OpenDKIM does with
    /// AuthservIDWithJobID.
    pub(super) has_job: bool,
}

impl AuthservId {
    /// Returns None if the text names no host.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (host, has_job) = match text.split_once('/') {
            Some((host, _)) => (host, true),
            None => (text, false),
        };
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        (!host.is_empty()).then_some(AuthservId { host, has_job })
    }

    /// Whether both name the same host.
    pub(super) fn is_host_of(&self, other: &AuthservId) -> bool {
        self.host == other.host
    }
}

/// One method's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MethodResult {
    /// `spf`, `dkim`, `dmarc` and so on, in lower case.
    pub(super) method: String,
    /// `pass`, `fail` and so on, in lower case.
    pub(super) result: String,
    /// The properties of the result: names such as `smtp.mailfrom` in lower case,
    /// and values as written.
    properties: Vec<(String, String)>,
}

impl MethodResult {
    /// The first value of a property; None without it.
    pub(super) fn property(&self, name: &str) -> Option<&str> {
        self.properties
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Reads an unfolded value. Returns None without an authserv-id.
pub(super) fn parse(value: &str) -> Option<AuthenticationResults> {
    let mut reader = Reader {
        tokens: Lexer::new(value, SYNTAX).peekable(),
    };
    let authserv_id = AuthservId::parse(&reader.word(ends_statement)?)?;
    reader.skip_statement();
    let mut results = Vec::new();
    while reader.next_statement() {
        results.extend(reader.method_result());
        reader.skip_statement();
    }
    Some(AuthenticationResults {
        authserv_id,
        results,
    })
}

const SYNTAX: Syntax = Syntax {
    is_blank: is_blank_or_control,
    is_special: |c| matches!(c, '=' | ';'),
    enclosing: None,
};

/// Reads a value from its start to its end.
struct Reader<'a> {
    tokens: Peekable<Lexer<'a>>,
}

impl Reader<'_> {
    /// Reads `method=result name=value …`, without the `;` that ends it.
    fn method_result(&mut self) -> Option<MethodResult> {
        let method = self.name()?;
        let result = self.word(ends_statement)?.to_ascii_lowercase();
        let mut properties = Vec::new();
        while let Some(name) = self.name() {
            let Some(value) = self.word(ends_statement) else {
                break;
            };
            properties.push((name, value));
        }
        // A method may have a version: spf/1.
        let method = method.split('/').next().unwrap_or_default().to_owned();
        Some(MethodResult {
            method,
            result,
            properties,
        })
    }

    /// A name and the `=` behind it.
    fn name(&mut self) -> Option<String> {
        let mut name = String::new();
        while let Some(part) = self.word(|token| token.kind == Kind::Special) {
            name.push_str(&part);
        }
        self.tokens.next_if(|token| token.is_special('='))?;
        (!name.is_empty()).then(|| name.to_ascii_lowercase())
    }

    /// The text up to the next blank, comment or token that ends it. Quoted
    /// strings in it lose their quotes.
    fn word(&mut self, ends: fn(&Token<'_>) -> bool) -> Option<String> {
        while self.tokens.next_if(is_blank).is_some() {}
        let mut word = None;
        while let Some(token) = self
            .tokens
            .next_if(|token| !ends(token) && !is_blank(token))
        {
            let word = word.get_or_insert_with(String::new);
            match token.kind {
                Kind::Quoted => word.push_str(&unquoted(token.text)),
                _ => word.push_str(token.text),
            }
        }
        word
    }

    /// Skips everything up to the `;` that ends a statement, or to the end.
    fn skip_statement(&mut self) {
        while self.word(ends_statement).is_some() {}
    }

    fn next_statement(&mut self) -> bool {
        self.tokens.next_if(ends_statement).is_some()
    }
}

fn is_blank(token: &Token<'_>) -> bool {
    matches!(token.kind, Kind::Blank | Kind::Comment)
}

fn ends_statement(token: &Token<'_>) -> bool {
    token.is_special(';')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    /// `method=result[name=value,…]` for each.
    fn read(value: &str) -> Option<(String, Vec<String>)> {
        let read = parse(value)?;
        let shown = |result: &MethodResult| {
            let properties: Vec<String> = result
                .properties
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            let (method, result) = (&result.method, &result.result);
            format!("{method}={result}[{}]", properties.join(","))
        };
        let results = read.results.iter().map(shown).collect();
        Some((read.authserv_id.host, results))
    }

    #[test]
    fn results_are_read_as_verifiers_write_them() {
        for (value, id, results) in [
            ("mx.example.org; none", "mx.example.org", vec![]),
            ("mx.example.org 1; none", "mx.example.org", vec![]),
            ("mx.example.org", "mx.example.org", vec![]),
            (
                "mx.example.org; spf=pass smtp.mailfrom=jane@vendor.example",
                "mx.example.org",
                vec!["spf=pass[smtp.mailfrom=jane@vendor.example]"],
            ),
            (
                " mail.example.org;\n\tdkim=pass (2048-bit key; unprotected) header.d=vendor.example header.i=@vendor.example header.b=\"a/b+c=\"",
                "mail.example.org",
                vec!["dkim=pass[header.d=vendor.example,header.i=@vendor.example,header.b=a/b+c=]"],
            ),
            (
                "mx.google.com; dkim=pass header.i=@v.example; spf=pass (google.com: domain of prvs=1=a@v.example designates 192.0.2.1 as permitted sender) smtp.mailfrom=\"prvs=1=a@v.example\"; dmarc=pass (p=NONE sp=NONE dis=NONE) header.from=v.example",
                "mx.google.com",
                vec![
                    "dkim=pass[header.i=@v.example]",
                    "spf=pass[smtp.mailfrom=prvs=1=a@v.example]",
                    "dmarc=pass[header.from=v.example]",
                ],
            ),
            (
                "MX.Example.org; SPF/1 = Fail reason = \"not; allowed\" smtp . mailfrom = a@b",
                "mx.example.org",
                vec!["spf=fail[reason=not; allowed,smtp.mailfrom=a@b]"],
            ),
            (
                "\"mx (1); x\" (a (nested) comment); dkim=none",
                "mx (1); x",
                vec!["dkim=none[]"],
            ),
            (
                "mx; broken; =x; spf; dkim=; spf=pass;; dkim=fail;",
                "mx",
                vec!["spf=pass[]", "dkim=fail[]"],
            ),
            (
                "mx; spf=pass smtp.mailfrom=prvs=07=jane@vendor.example",
                "mx",
                vec!["spf=pass[smtp.mailfrom=prvs=07=jane@vendor.example]"],
            ),
        ] {
            let expected = results.into_iter().map(str::to_owned).collect();
            assert_eq!(read(value), Some((id.to_owned(), expected)), "{value:?}");
        }
    }

    #[test]
    fn the_host_is_named_without_the_job() {
        for (value, host, has_job) in [
            ("mx.example.org; none", "mx.example.org", false),
            ("MX.example.org.; none", "mx.example.org", false),
            ("mx.example.org/4FABCD1234; none", "mx.example.org", true),
            ("\"mx.example.org./4F/AB\"; none", "mx.example.org", true),
            ("evil.example/mx.example.org; none", "evil.example", true),
        ] {
            let expected = AuthservId {
                host: host.to_owned(),
                has_job,
            };
            assert_eq!(parse(value).unwrap().authserv_id, expected, "{value}");
        }
    }

    #[test]
    fn comments_and_quoted_strings_say_nothing() {
        for value in [
            "mx; (spf=pass) dkim=none",
            "mx; dkim=none (; spf=pass)",
            "mx; dkim=none reason=\"; spf=pass\"",
            "mx; dkim=none (\\); spf=pass)",
            "mx; dkim=none (left open; spf=pass",
            "mx; dkim=none reason=\"left open; spf=pass",
        ] {
            let methods: Vec<String> = parse(value)
                .unwrap()
                .results
                .into_iter()
                .map(|result| result.method)
                .collect();
            assert_eq!(methods, ["dkim"], "{value:?}");
        }
    }

    #[test]
    fn nothing_is_nobodys_word() {
        for value in [
            "",
            " ",
            ";",
            "; spf=pass",
            "(mx); spf=pass",
            "/mx; spf=pass",
            ".; x=y",
        ] {
            assert_eq!(parse(value), None, "{value:?}");
        }
    }

    #[test]
    fn long_values_are_read_in_one_go() {
        for piece in ["(", "\"", ";", "=", "spf=pass;", "\\", " a=b", "a/"] {
            // Quadratic, this would go on for minutes.
            parse(&format!("mx; {}", piece.repeat(50_000)));
        }
    }

    proptest! {
        #[test]
        fn any_value_is_survived(value in "\\PC*|[a-z=;()\"\\\\. /@]{0,60}") {
            let _ = parse(&value);
        }
    }
}
