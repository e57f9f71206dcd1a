//! Reads the Received fields that our own Postfix put on top of a message (RFC
//! 5321 4.4): the client that sent it, and its queue id. Only for mail out of
//! Postfix's own queue. In other mail a stranger may have written the fields.

use std::net::IpAddr;

use super::header::{Header, Headers};

/// The origin of a message, as our own Postfix noted it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trace {
    /// The SMTP client outside this host that sent the message. `None` for mail
    /// of a local user (sendmail(1)) or program, and if the fields do not name
    /// a client.
    pub(crate) client: Option<IpAddr>,
    /// The queue id that the topmost Received field states.
    pub(crate) queue_id: Option<String>,
}

impl Trace {
    /// Reads the topmost Received fields. `host` is the name that our own
    /// Postfix writes into them (`myhostname`). It is empty if unknown.
    pub(crate) fn of(headers: &Headers, host: &str) -> Self {
        let mut hops = headers.get_all("Received").map(Hop::of);
        let topmost = hops.next();
        Self {
            client: topmost.as_ref().and_then(|topmost| {
                let is_ours = |name: &str| !host.is_empty() && name.eq_ignore_ascii_case(host);
                client_outside(topmost, hops, is_ours)
            }),
            queue_id: topmost.and_then(|topmost| topmost.queue_id),
        }
    }
}

/// The first client outside this host. More fields of this host may stand below
/// the topmost one: a content filter returns a message over loopback, and
/// local(8) forwards one. Reading stops at a field that names a client outside,
/// or that another host wrote. A stranger can write anything below it.
fn client_outside(
    topmost: &Hop,
    below: impl Iterator<Item = Hop>,
    is_ours: impl Fn(&str) -> bool,
) -> Option<IpAddr> {
    if !topmost.by.as_deref().is_some_and(&is_ours) {
        return None;
    }
    // amavisd calls itself localhost.
    let is_on_host = |by: &str| is_ours(by) || by.eq_ignore_ascii_case("localhost");
    let own = below.take_while(|hop| hop.by.as_deref().is_some_and(is_on_host));
    let mut own = own.map(|hop| hop.origin);
    let mut origin = topmost.origin;
    loop {
        match origin {
            Origin::Client(client) if !client.is_loopback() => return Some(client),
            Origin::Client(_) | Origin::Postfix => origin = own.next()?,
            Origin::LocalUser | Origin::Unknown => return None,
        }
    }
}

/// One Received field.
struct Hop {
    origin: Origin,
    /// The host that wrote the field.
    by: Option<String>,
    queue_id: Option<String>,
}

/// The origin that a Received field states.
#[derive(Clone, Copy)]
enum Origin {
    Client(IpAddr),
    /// A local user, by sendmail(1).
    LocalUser,
    /// Postfix itself: local(8) forwards it.
    Postfix,
    /// The field states no origin, or not in Postfix's form.
    Unknown,
}

impl Hop {
    /// Reads the field line by line. The client may put anything into its HELO,
    /// even "id 7" and "[192.0.2.1])", but no line break. So only the lines
    /// separate its words from Postfix's.
    fn of(received: &Header) -> Self {
        let value = String::from_utf8_lossy(received.value());
        let lines = || value.lines().map(str::trim).filter(|line| !line.is_empty());
        Self {
            origin: lines().next().map_or(Origin::Unknown, Origin::of),
            by: lines().find_map(writer),
            queue_id: lines().find_map(queue_id),
        }
    }
}

impl Origin {
    /// Reads the first line of a field.
    fn of(line: &str) -> Self {
        if line.starts_with("by ") {
            return match line.contains(", from userid ") {
                true => Origin::LocalUser,
                false => Origin::Postfix,
            };
        }
        client(line).map_or(Origin::Unknown, Origin::Client)
    }
}

/// Reads HOST from a line `by HOST (Postfix) …`.
fn writer(line: &str) -> Option<String> {
    let rest = line.strip_prefix("by ")?;
    rest.split(' ').next().map(str::to_owned)
}

/// Reads ADDRESS from a line `from HELO (NAME [ADDRESS])`.
fn client(line: &str) -> Option<IpAddr> {
    let line = line.strip_prefix("from ")?.strip_suffix("])")?;
    let (_, address) = line.rsplit_once('[')?;
    let address = address.strip_prefix("IPv6:").unwrap_or(address);
    address.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

/// Reads QUEUEID from a line `by HOST (Postfix) with ESMTP id QUEUEID`, or from
/// `id QUEUEID; DATE` in a local user's mail.
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

    const HOST: &str = "mail.kms.example.org";

    fn traced(values: &[&str]) -> Trace {
        let mut headers = Headers::new();
        for value in values {
            headers.push(b"Received", value.as_bytes());
        }
        Trace::of(&headers, HOST)
    }

    fn trace(value: &str) -> Trace {
        traced(&[value, " by elsewhere (Postfix) id ELSE"])
    }

    fn client_of(values: &[&str]) -> Option<IpAddr> {
        traced(values).client
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
                 \tby Mail.kms.example.org (Mail) with ESMTPSA id 7F3A21; Sat, 28 Nov 2026 03:12:00 +0000",
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
                    \tby mail.kms.example.org (Postfix) with ESMTP id 7F3A21; Sat, 28 Nov 2026 03:12:00 +0000";
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
        assert_eq!(traced(&[]), Trace::default());
    }

    const OUTSIDE: &str = " from mx (mx.vendor.example [192.0.2.7])\n\
        \tby mail.kms.example.org (Postfix) with ESMTP id A1; Sat, 28 Nov 2026 03:12:00 +0000";
    const GIVEN_BACK: &str = " from localhost (localhost [127.0.0.1])\n\
        \tby mail.kms.example.org (Postfix) with ESMTP id A3; Sat, 28 Nov 2026 03:12:01 +0000";
    const FILTER: &str = " from mail.kms.example.org ([127.0.0.1])\n\
        \tby localhost (mail.kms.example.org [127.0.0.1]) (amavisd-new, port 10024)\n\
        \twith ESMTP id A2; Sat, 28 Nov 2026 03:12:00 +0000";
    const FORWARDED: &str = " by mail.kms.example.org (Postfix)\n\
        \tid A4; Sat, 28 Nov 2026 03:12:02 +0000";
    const SENDMAIL: &str = " by mail.kms.example.org (Postfix, from userid 1000)\n\
        \tid A5; Sat, 28 Nov 2026 03:12:00 +0000";
    const ELSEWHERE: &str = " from x (x [127.0.0.1])\n\
        \tby mx.vendor.example (Postfix) with ESMTP id A0; Sat, 28 Nov 2026 03:11:00 +0000";
    const FORGED: &str = " from forged (forged [203.0.113.9])\n\
        \tby mail.kms.example.org (Postfix) with ESMTP id F; Sat, 28 Nov 2026 03:11:00 +0000";

    #[test]
    fn the_client_outside_is_found_behind_a_filter_and_a_forward() {
        let client = Some(IpAddr::from([192, 0, 2, 7]));
        for values in [
            &[OUTSIDE][..],
            &[GIVEN_BACK, OUTSIDE],
            &[GIVEN_BACK, FILTER, OUTSIDE],
            &[FORWARDED, GIVEN_BACK, FILTER, OUTSIDE],
        ] {
            assert_eq!(client_of(values), client, "{values:?}");
            let forged = [values, &[FORGED]].concat();
            assert_eq!(client_of(&forged), client, "{forged:?}");
        }
        let traced = traced(&[GIVEN_BACK, OUTSIDE]);
        assert_eq!(traced.queue_id.as_deref(), Some("A3"));
    }

    #[test]
    fn a_field_that_a_stranger_may_have_written_names_no_client() {
        for values in [
            &[SENDMAIL, FORGED][..],
            &[GIVEN_BACK, SENDMAIL, FORGED],
            &[ELSEWHERE, FORGED],
            &[GIVEN_BACK, ELSEWHERE, FORGED],
            &[FILTER, FORGED],
            &[GIVEN_BACK, " from x by y", FORGED],
            &[GIVEN_BACK],
            &[" from x ([192.0.2.7])", FORGED],
        ] {
            assert_eq!(client_of(values), None, "{values:?}");
        }
        let mut headers = Headers::new();
        headers.push(
            b"Received",
            b" from x (x [192.0.2.7])\n\tby  (Postfix) id A1",
        );
        assert_eq!(Trace::of(&headers, "").client, None);
    }
}
