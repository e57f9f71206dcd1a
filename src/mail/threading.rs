//! The fields by which a reply refers to its request, In-Reply-To and
//! References (RFC 5322 3.6.4), and the reply's own Message-ID.

use super::header::Headers;
use super::lexer::without_comments;

/// Octets of the longest id that a reply repeats.
const MAX_ID: usize = 900;
/// Last ids that a reply's References keep, beside the first one, which began
/// the thread.
const LAST_REFERENCES: usize = 9;

/// The Message-ID without comments, or `None` if it can't be repeated in
/// another header.
pub(super) fn message_id(headers: &Headers) -> Option<String> {
    let value = without_comments(&headers.first("Message-ID")?.unfolded());
    let id = value.trim_matches([' ', '\t']);
    is_repeatable(id).then(|| id.to_owned())
}

/// The References of a reply: those of the request, and its Message-ID.
pub(super) fn references(headers: &Headers) -> Vec<String> {
    let field = headers.first("References");
    let value = field.map(|field| field.unfolded()).unwrap_or_default();
    let mut ids: Vec<String> = without_comments(&value)
        .split([' ', '\t'])
        .filter(|id| id.starts_with('<') && id.ends_with('>') && is_repeatable(id))
        .map(str::to_owned)
        .chain(message_id(headers))
        .collect();
    if ids.len() > 1 + LAST_REFERENCES {
        ids.drain(1..ids.len() - LAST_REFERENCES);
    }
    ids
}

/// The Message-ID of a reply. It stays the same when the reply is sent again,
/// and differs for each step of a request.
#[must_use]
pub(crate) fn reply_message_id(request_id: &str, step: &str, domain: &str) -> String {
    let atom = |text: &str| -> String {
        text.chars()
            .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
            .collect()
    };
    format!("<{}.{}@{domain}>", atom(request_id), atom(step))
}

/// The Message-ID of another step of the same request, made from one of
/// [`reply_message_id`]. Any other id stays as it is.
pub(super) fn at_step(id: &str, step: &str) -> String {
    match request_and_domain(id) {
        Some((request_id, domain)) => reply_message_id(request_id, step, domain),
        None => id.to_owned(),
    }
}

fn request_and_domain(id: &str) -> Option<(&str, &str)> {
    let id = id.strip_prefix('<')?.strip_suffix('>')?;
    let (request_and_step, domain) = id.split_once('@')?;
    let (request_id, _) = request_and_step.split_once('.')?;
    Some((request_id, domain))
}

fn is_repeatable(id: &str) -> bool {
    !id.is_empty() && id.len() <= MAX_ID && id.bytes().all(|octet| octet.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use super::*;

    fn headers(fields: &[(&str, &str)]) -> Headers {
        let mut headers = Headers::new();
        for (name, value) in fields {
            headers.push(name.as_bytes(), value.as_bytes());
        }
        headers
    }

    #[test]
    fn an_id_comes_back_as_it_stands() {
        let id = |value: &str| message_id(&headers(&[("Message-Id", value)]));
        assert_eq!(id(" <a@b> ").as_deref(), Some("<a@b>"));
        assert_eq!(id("\n a=?b").as_deref(), Some("a=?b"));
        for value in [
            " <a@b> (added by relay)",
            "(x)\r\n <a@b>(y)",
            "<a@b> (left open",
        ] {
            assert_eq!(id(value).as_deref(), Some("<a@b>"), "{value:?}");
        }
        assert_eq!(id("<a(b)@c>").as_deref(), Some("<a(b)@c>"));
        for value in [
            "",
            " ",
            " (x)",
            " <a b@c>",
            " <a\tb>",
            " <é@x>",
            &"a".repeat(901),
        ] {
            assert_eq!(id(value), None, "{value:?}");
        }
        assert_eq!(id(&"a".repeat(900)).map(|id| id.len()), Some(900));
    }

    #[test]
    fn references_are_those_of_the_request_and_its_id() {
        let headers = headers(&[
            (
                "References",
                " <1@x>\r\n <2@x>(of a <b@c>)  garbage <3\u{e9}@x>",
            ),
            ("Message-ID", " <4@x>"),
        ]);
        assert_eq!(references(&headers), ["<1@x>", "<2@x>", "<4@x>"]);
    }

    #[test]
    fn of_many_references_the_first_and_the_last_nine_stay() {
        let many: String = (0..40).map(|number| format!(" <{number}@x>")).collect();
        let kept = references(&headers(&[("References", &many), ("Message-ID", "<id@x>")]));
        assert_eq!(kept.len(), 10);
        assert_eq!(kept[..2], ["<0@x>", "<32@x>"]);
        assert_eq!(kept[9], "<id@x>");
    }

    #[test]
    fn a_reply_id_is_made_of_its_parts() {
        assert_eq!(
            reply_message_id("00ff", "result", "kms.example.org"),
            "<00ff.result@kms.example.org>"
        );
        assert_eq!(reply_message_id("a>\r\n", "b c", "x"), "<a.bc@x>");
    }

    #[test]
    fn the_steps_of_a_request_differ_by_one_word() {
        let at_notice = |id: &str| at_step(id, "deferred");
        for domain in ["kms.example.org", "[192.0.2.1]", "a.result.example"] {
            let result = reply_message_id("00ff", "result", domain);
            let notice = reply_message_id("00ff", "deferred", domain);
            assert_eq!(at_notice(&result), notice);
        }
        for foreign in ["", "<>", "00ff.result@x", "<00ff@x.y>"] {
            assert_eq!(at_notice(foreign), foreign);
        }
    }
}
