//! Refuses an address that the configuration gives to two services. Each key is
//! good by itself, but both together can't be meant.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use super::{
    Config, ListenAddress,
    error::{Checked, refuse},
};

impl Config {
    /// Refuses port 0, and ports and sockets that have two owners.
    pub(super) fn check_addresses(&self) -> Checked {
        self.check_ports()?;
        let milter = &self.milter.listen;
        if milter.takes(self.reply.smtp) {
            return refuse(
                "reply.smtp",
                format_args!(
                    "{} is where the gateway itself listens, by milter.listen = \"{milter}\"",
                    self.reply.smtp
                ),
                "name Postfix's port for replies, such as \"127.0.0.1:18025\"",
            );
        }
        if let Some(metrics) = self.metrics.listen {
            for (key, is_taken) in [
                ("milter.listen", milter.takes(metrics)),
                ("reply.smtp", overlap(metrics, self.reply.smtp)),
            ] {
                if is_taken {
                    return refuse(
                        "metrics.listen",
                        format_args!("{metrics} is the address of {key} too"),
                        "write another port, such as \"127.0.0.1:9890\"",
                    );
                }
            }
        }
        if let (ListenAddress::Unix(milter), Some(kms)) = (milter, &self.kms.socket)
            && milter == kms
        {
            return refuse(
                "kms.socket",
                format_args!(
                    "{} is where the gateway itself listens, by milter.listen",
                    kms.display()
                ),
                "name the socket of the external key management system",
            );
        }
        Ok(())
    }

    fn check_ports(&self) -> Checked {
        let milter = match &self.milter.listen {
            ListenAddress::Inet(address) => port_of(address),
            ListenAddress::Unix(_) => None,
        };
        let ports = [
            ("milter.listen", milter),
            ("reply.smtp", Some(self.reply.smtp.port())),
            ("metrics.listen", self.metrics.listen.map(|at| at.port())),
            ("dnsbl.resolver", self.dnsbl.resolver.map(|at| at.port())),
        ];
        match ports.into_iter().find(|(_, port)| *port == Some(0)) {
            Some((key, _)) => refuse(
                key,
                "its port is 0, which names none",
                "write a port from 1 to 65535",
            ),
            None => Ok(()),
        }
    }
}

impl ListenAddress {
    /// Whether a connection to `other` on this machine reaches this address. No name
    /// but `localhost` is looked up.
    pub(crate) fn takes(&self, other: SocketAddr) -> bool {
        let Self::Inet(address) = self else {
            return false;
        };
        let hosts = ip_addresses(address);
        port_of(address).is_some_and(|port| {
            hosts
                .into_iter()
                .any(|host| overlap(SocketAddr::new(host, port), other))
        })
    }

    /// Whether both name the same socket.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        let Self::Inet(address) = other else {
            return self == other;
        };
        let hosts = ip_addresses(address);
        self == other
            || port_of(address).is_some_and(|port| {
                let mut hosts = hosts.into_iter();
                hosts.any(|host| self.takes(SocketAddr::new(host, port)))
            })
    }
}

/// The IP addresses of HOST in HOST:PORT, without looking up names.
fn ip_addresses(address: &str) -> Vec<IpAddr> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if host.eq_ignore_ascii_case("localhost") {
        return vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    }
    bare.parse().into_iter().collect()
}

fn port_of(address: &str) -> Option<u16> {
    address.rsplit_once(':')?.1.parse().ok()
}

/// Whether a connection to one can reach a listener at the other.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let (own, others) = (one.ip().to_canonical(), other.ip().to_canonical());
    let meet = own == others
        || own.is_unspecified() && is_of_this_machine(others)
        || others.is_unspecified() && is_of_this_machine(own);
    one.port() == other.port() && meet
}

fn is_of_this_machine(address: IpAddr) -> bool {
    // The system binds no other machine's address. Nothing is sent.
    address.is_loopback() || address.is_unspecified() || UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn takes(listen: &str, other: &str) -> bool {
        let listen: ListenAddress = listen.parse().unwrap();
        listen.takes(other.parse().unwrap())
    }

    #[test]
    fn one_socket_is_known_under_its_many_names() {
        for (listen, other) in [
            ("inet:127.0.0.1:8890", "127.0.0.1:8890"),
            ("inet:localhost:8890", "127.0.0.1:8890"),
            ("inet:LOCALHOST:8890", "[::1]:8890"),
            ("inet:0.0.0.0:8890", "127.0.0.1:8890"),
            ("inet:127.0.0.1:8890", "0.0.0.0:8890"),
            ("inet:[::]:8890", "127.9.9.9:8890"),
            ("inet:[::]:8890", "[::1]:8890"),
            ("inet:[::ffff:127.0.0.1]:8890", "127.0.0.1:8890"),
            ("inet:127.0.0.1:08890", "127.0.0.1:8890"),
        ] {
            assert!(takes(listen, other), "{listen} {other}");
        }
    }

    #[test]
    fn others_are_others() {
        for (listen, other) in [
            ("inet:127.0.0.1:8890", "127.0.0.1:8891"),
            ("inet:127.0.0.1:8890", "127.0.0.2:8890"),
            ("inet:127.0.0.1:8890", "[::1]:8890"),
            // Another machine's port.
            ("inet:0.0.0.0:8890", "192.0.2.1:8890"),
            ("inet:milter.example.org:8890", "127.0.0.1:8890"),
            ("unix:/run/milter", "127.0.0.1:8890"),
        ] {
            assert!(!takes(listen, other), "{listen} {other}");
        }
    }

    #[test]
    fn a_listener_is_itself_however_it_is_written() {
        let is_same = |one: &str, other: &str| {
            let one: ListenAddress = one.parse().unwrap();
            one.is_same_as(&other.parse().unwrap())
        };
        assert!(is_same("inet:localhost:8890", "inet:127.0.0.1:8890"));
        assert!(is_same("inet:mail:8890", "inet:mail:8890"));
        assert!(is_same("unix:/run/milter", "unix:/run/milter"));
        assert!(!is_same("unix:/run/milter", "unix:/run/other"));
        assert!(!is_same("unix:/run/milter", "inet:127.0.0.1:8890"));
        assert!(!is_same("inet:127.0.0.1:8890", "unix:/run/milter"));
    }
}
