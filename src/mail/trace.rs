//! What our own Postfix noted in the Received field that it put on top of a
//! message (RFC 5321 4.4): who brought the message, and its queue id. Only for
//! mail out of Postfix's own queue, for on other mail a stranger wrote the field.

use std::net::IpAddr;

use super::header::{Header, Headers};

/// A message as our own Postfix took it into its queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// The SMTP client; none for mail of a local user (sendmail(1)).
    pub client: Option<IpAddr>,
    /// The queue id.
    pub queue_id: Option<String>,
}

impl Trace {
    /// Reads the topmost Received field as smtpd(8) and pickup(8) write it.
    #[must_use]
    pub fn topmost(headers: &Headers) -> Self {
        headers.first("Received").map(Self::of).unwrap_or_default()
    }

    /// The client may say anything in its HELO, "id 7" and "[192.0.2.1])" too,
    /// but no line break. Only the lines tell its words from Postfix's.
    fn of(received: &Header) -> Self {
        let value = String::from_utf8_lossy(received.value());
        let mut lines = value.lines().map(str::trim);
        let from = value.lines().next().map(str::trim).unwrap_or_default();
        Self {
            client: client(from),
            queue_id: lines.find_map(queue_id),
        }
    }
}

/// Of a line `from HELO (NAME [ADDRESS])`.
fn client(line: &str) -> Option<IpAddr> {
    let line = line.strip_prefix("from ")?.strip_suffix("])")?;
    let (_, address) = line.rsplit_once('[')?;
    let address = address.strip_prefix("IPv6:").unwrap_or(address);
    address.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

/// Of a line `by HOST (Postfix) with ESMTP id QUEUEID` or, of a local user's
/// mail, `id QUEUEID; DATE`.
fn queue_id(line: &str) -> Option<String> {
    if !line.starts_with("by ") && !line.starts_with("id ") {
        return None;
    }
    let mut words = line.split([' ', '\t', ';']);
    words.find(|word| *word == "id")?;
    let id = words.next()?;
    let is_id = !id.is_empty() && id.bytes().all(|octet| octet.is_ascii_alphanumeric());
    is_id.then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(value: &str) -> Trace {
        let mut headers = Headers::new();
        headers.push(b"Received", value.as_bytes());
        headers.push(b"Received", b" by elsewhere (Postfix) id ELSE");
        Trace::topmost(&headers)
    }

    fn is(client: Option<&str>, queue_id: Option<&str>) -> Trace {
        Trace {
            client: client.map(|client| client.parse().unwrap_or(IpAddr::from([0; 4]))),
            queue_id: queue_id.map(str::to_owned),
        }
    }

    #[test]
    fn what_postfix_writes_is_read() {
        for (value, expected) in [
            (
                " from client.vendor.example (mx.vendor.example [192.0.2.7])\n\
                 \tby mail.kms.example.org (Postfix) with ESMTP id 4dNxQ32yFVz4x\n\
                 \tfor <gateway@kms.example.org>; Sat, 28 Nov 2026 03:12:00 +0000 (UTC)",
                is(Some("192.0.2.7"), Some("4dNxQ32yFVz4x")),
            ),
            (
                " from client (unknown [IPv6:2001:db8::7])\n\
                 \t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits))\n\
                 \t(Client CN \"by x id 7 [192.0.2.1])\", Issuer \"x\" (not verified))\n\
                 \t(Authenticated sender: alice)\n\
                 \tby mail (Mail) with ESMTPSA id 7F3A21; Sat, 28 Nov 2026 03:12:00 +0000",
                is(Some("2001:db8::7"), Some("7F3A21")),
            ),
            (
                " by mail.kms.example.org (Postfix, from userid 1000)\n\
                 \tid 7F3A21; Sat, 28 Nov 2026 03:12:00 +0000 (UTC)",
                is(None, Some("7F3A21")),
            ),
            (
                " by mail.kms.example.org (Postfix) id 7F3A21; Sat, 28 Nov 2026 03:12:00 +0000",
                is(None, Some("7F3A21")),
            ),
        ] {
            assert_eq!(trace(value), expected, "{value}");
        }
    }

    #[test]
    fn no_word_of_the_clients_is_taken_for_postfixs() {
        let helo = " from x (y [198.51.100.9]) by z (Postfix) id EVIL (mx [192.0.2.7])\n\
                    \tby mail (Postfix) with ESMTP id 7F3A21; Sat, 28 Nov 2026 03:12:00 +0000";
        assert_eq!(trace(helo), is(Some("192.0.2.7"), Some("7F3A21")));
    }

    #[test]
    fn what_is_not_there_is_not_made_up() {
        for value in [
            "",
            " from x",
            " by mail id ",
            " by mail id a>b",
            " id",
            " from x ([])",
        ] {
            assert_eq!(trace(value), Trace::default(), "{value}");
        }
        assert_eq!(Trace::topmost(&Headers::new()), Trace::default());
    }
}
