//! The addresses at which Postfix listens: parsed from master.cf, compared, and looked up
//! among the ports in use.

use std::fs;

use super::{WiringError, postconf::run_program};

/// `HOST:PORT` of master.cf, without brackets and zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Port {
    /// Empty for all addresses.
    host: String,
    /// A number, or a name of services(5).
    port: String,
}

impl Port {
    pub(super) fn parse(text: &str) -> Self {
        let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let host = host.split('%').next().unwrap_or_default();
        Self {
            host: match host {
                "localhost" => "127.0.0.1",
                other => other,
            }
            .to_owned(),
            port: port.to_owned(),
        }
    }

    pub(super) fn is_on_loopback(&self) -> bool {
        self.host.starts_with("127.") || self.is_ipv6()
    }

    /// Whether it is the loopback address of IPv6.
    pub(super) fn is_ipv6(&self) -> bool {
        self.host == "::1"
    }

    /// The next hop of a transport: `[127.0.0.1]:18026`, `[ipv6:::1]:18026`.
    pub(super) fn next_hop(&self) -> String {
        let family = if self.host.contains(':') { "ipv6:" } else { "" };
        format!("[{family}{}]:{}", self.host, self.port)
    }

    /// Whether a listener at `self` takes connections to `other`.
    pub(super) fn overlaps(&self, other: &Port) -> bool {
        let any = ["", "*", "0.0.0.0", "::"];
        let same_host = self.host == other.host || any.contains(&self.host.as_str());
        same_host && (self.port == other.port || number(&self.port) == Some(other.port.clone()))
    }
}

/// The number of a port that services(5) names.
fn number(name: &str) -> Option<String> {
    if name.parse::<u16>().is_ok() {
        return None;
    }
    let found = run_program("getent", &["services", &format!("{name}/tcp")]).ok()?;
    let port = found.split_whitespace().nth(1)?;
    Some(port.split('/').next()?.to_owned())
}

/// A process that listens.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) port: Port,
    /// As ss(8) shows it: `users:(("master",pid=7,fd=13))`; empty if ss doesn't know it.
    pub(super) process: String,
}

impl Listener {
    /// Whether a process of that name listens.
    pub(super) fn is_named(&self, name: &str) -> bool {
        !name.is_empty() && self.process.contains(&format!("\"{name}\""))
    }

    /// Whether the process of that number listens.
    pub(super) fn is_process(&self, id: &str) -> bool {
        !id.is_empty() && self.process.contains(&format!("pid={id},"))
    }
}

/// All listeners at TCP ports.
///
/// # Errors
/// ss(8) is missing or fails.
pub(super) fn listeners() -> Result<Vec<Listener>, WiringError> {
    let shown = run_program("ss", &["-Hltnp"])?;
    let listener = |line: &str| {
        let mut columns = line.split_whitespace().skip(3);
        Some(Listener {
            port: Port::parse(columns.next()?),
            process: columns.nth(1).unwrap_or_default().to_owned(),
        })
    };
    Ok(shown.lines().filter_map(listener).collect())
}

/// The process id of the last Postfix master in this queue directory; empty if none.
pub(super) fn master(queue: &str) -> String {
    let file = format!("{queue}/pid/master.pid");
    fs::read_to_string(file)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_by_itself_and_by_every_address() {
        let needed = Port::parse("127.0.0.1:18025");
        for taken in [
            "127.0.0.1:18025",
            "18025",
            "*:18025",
            "0.0.0.0:18025",
            "[::]:18025",
            "localhost:18025",
        ] {
            assert!(Port::parse(taken).overlaps(&needed), "{taken}");
        }
        for free in [
            "127.0.0.2:18025",
            "127.0.0.1:18026",
            "[::1]:18025",
            "127.0.0.1:1802",
        ] {
            assert!(!Port::parse(free).overlaps(&needed), "{free}");
        }
        assert!(Port::parse("smtp").overlaps(&Port::parse("127.0.0.1:25")));
    }

    #[test]
    fn a_next_hop_has_brackets() {
        assert_eq!(
            Port::parse("127.0.0.1:18026").next_hop(),
            "[127.0.0.1]:18026"
        );
        assert_eq!(Port::parse("[::1]:18026").next_hop(), "[ipv6:::1]:18026");
    }
}
