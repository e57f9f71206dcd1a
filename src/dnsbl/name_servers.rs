//! Reads the name servers in /etc/resolv.conf as the C library does
//! (resolv.conf(5)). Other lines do not matter, as the gateway asks for whole
//! names.

use std::{
    fs,
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
};

use crate::printable::Printable;

/// The file that the C library reads.
const FILE: &str = "/etc/resolv.conf";

/// Number of name servers that the C library asks at most (`MAXNS`).
const MOST: usize = 3;

/// The name servers to ask, and warnings for the operator.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NameServers {
    /// At least one address.
    pub(super) addresses: Vec<IpAddr>,
    /// A line for each name server that can't be asked.
    pub(super) warnings: Vec<String>,
}

/// The name servers of this machine. A file that can't be read names none, as
/// in the C library.
pub(super) fn of_system() -> NameServers {
    match fs::read(Path::new(FILE)) {
        Ok(text) => read(&text),
        Err(error) => {
            let mut servers = read(b"");
            if error.kind() != ErrorKind::NotFound {
                servers.warnings.push(format!(
                    "{FILE} can't be read: {error}; the gateway asks the name server of this machine. \
                     Correct the file, or set dnsbl.resolver"
                ));
            }
            servers
        }
    }
}

fn read(text: &[u8]) -> NameServers {
    let mut addresses = Vec::new();
    let mut warnings = Vec::new();
    let text = String::from_utf8_lossy(text);
    for (number, line) in (1..).zip(text.lines()) {
        let Some(named) = named_by(line.trim_start()) else {
            continue;
        };
        match usable(named).and_then(|address| begins_the_line(line).map(|()| address)) {
            Ok(address) if addresses.len() < MOST => addresses.push(address),
            Ok(_) => {}
            Err(why) => warnings.push(format!(
                "{FILE}:{number}: the name server {:?} is not asked: {why}; correct the line, or \
                 set dnsbl.resolver",
                Printable(named).to_string()
            )),
        }
    }
    if addresses.is_empty() {
        addresses.push(Ipv4Addr::LOCALHOST.into());
    }
    NameServers {
        addresses,
        warnings,
    }
}

/// The word after `nameserver`. `None` for other lines. Any text after the word
/// is ignored.
fn named_by(line: &str) -> Option<&str> {
    let blanks = [' ', '\t', '\r'];
    let value = line.strip_prefix("nameserver")?;
    let is_keyword = value.is_empty() || value.starts_with(blanks);
    is_keyword.then(|| {
        let mut words = value.split(blanks).filter(|word| !word.is_empty());
        words.next().unwrap_or("")
    })
}

fn begins_the_line(line: &str) -> Result<(), &'static str> {
    match line.starts_with(char::is_whitespace) {
        true => Err("a blank stands before the keyword, so that the C library ignores the line"),
        false => Ok(()),
    }
}

/// The address to ask, or the reason why it can't be asked.
fn usable(named: &str) -> Result<IpAddr, &'static str> {
    if named.is_empty() {
        return Err("no address follows");
    }
    if let Some(address) = ipv4(named) {
        return Ok(this_machine_if_unspecified(address.into()));
    }
    let (address, _scope) = named.split_once('%').unwrap_or((named, ""));
    let address: Ipv6Addr = address.parse().map_err(|_| "it is no IP address")?;
    match address.is_unicast_link_local() {
        // The resolver can't take the name of the interface.
        true => Err("the gateway can't ask at a link-local address"),
        false => Ok(this_machine_if_unspecified(
            IpAddr::from(address).to_canonical(),
        )),
    }
}

/// Replaces 0.0.0.0 and `::` by the loopback address. The system sends such
/// packets there, and the answer comes from the loopback address.
fn this_machine_if_unspecified(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        other => other,
    }
}

/// Reads an address as inet_aton(3) does: one to four numbers, decimal, octal
/// or hexadecimal. The last number fills the remaining octets.
fn ipv4(text: &str) -> Option<Ipv4Addr> {
    let parts: Vec<u32> = text.split('.').map(number).collect::<Option<_>>()?;
    let (last, first) = parts.split_last()?;
    let filled = u32::try_from(first.len()).ok().filter(|count| *count < 4)?;
    if u64::from(*last) >> (32 - 8 * filled) != 0 {
        return None;
    }
    first
        .iter()
        .zip([24, 16, 8])
        .try_fold(*last, |address, (part, shift)| {
            (*part <= 0xff).then(|| address | part << shift)
        })
        .map(Ipv4Addr::from_bits)
}

fn number(text: &str) -> Option<u32> {
    let (digits, radix) = match text.strip_prefix('0') {
        None => (text, 10),
        Some("") => (text, 10),
        Some(rest) => match rest.strip_prefix(['x', 'X']) {
            Some(digits) => (digits, 16),
            None => (rest, 8),
        },
    };
    // Checks the digits, because `from_str_radix` accepts a sign.
    let is_number = digits.chars().all(|digit| digit.is_digit(radix));
    is_number
        .then(|| u32::from_str_radix(digits, radix).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use proptest::prelude::*;

    use super::*;

    fn addresses(text: &str) -> Vec<String> {
        let servers = read(text.as_bytes());
        servers.addresses.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn lines_that_name_no_server_do_no_harm() {
        for line in [
            "search my..bad",
            "search space\\032space.com",
            "domain  -bad-.example..",
            "search",
            "sortlist 130.155.160.0/255.255.240.0 nonsense",
            "options ndots:99999999999 timeout:x attempts: rotate trust-ad no-such-option",
            "lookup file bind",
            "; nameserver 192.0.2.1",
            "# nameserver 192.0.2.1",
            "nameservers 192.0.2.1",
            "NAMESERVER 192.0.2.1",
            "\u{feff}nonsense \0 \u{7f}",
            "",
        ] {
            let text = format!("{line}\nnameserver 192.0.2.53\n{line}");
            let servers = read(text.as_bytes());
            assert_eq!(addresses(&text), ["192.0.2.53"], "{line:?}");
            assert_eq!(servers.warnings, [""; 0], "{line:?}");
        }
    }

    #[test]
    fn servers_are_read_as_the_c_library_reads_them() {
        for (line, expected) in [
            ("nameserver\t192.0.2.53", "192.0.2.53"),
            ("nameserver  \t 192.0.2.53 \t", "192.0.2.53"),
            ("nameserver 192.0.2.53 # the first", "192.0.2.53"),
            ("nameserver 192.0.2.53\r", "192.0.2.53"),
            ("nameserver 127.1", "127.0.0.1"),
            ("nameserver 0x7f.0.0.065", "127.0.0.53"),
            ("nameserver 3221225985", "192.0.2.1"),
            ("nameserver 0.0.0.0", "127.0.0.1"),
            ("nameserver ::", "::1"),
            ("nameserver 2001:db8::35", "2001:db8::35"),
            ("nameserver 2001:db8::35%eth0", "2001:db8::35"),
            ("nameserver ::ffff:192.0.2.53", "192.0.2.53"),
        ] {
            assert_eq!(addresses(line), [expected], "{line:?}");
        }
    }

    #[test]
    fn a_server_that_cannot_be_asked_is_named() {
        for (line, named) in [
            ("nameserver fe80::1%eth0", "fe80::1%eth0"),
            ("nameserver fe80::1", "fe80::1"),
            (" nameserver 192.0.2.1", "192.0.2.1"),
            ("nameserver 192.0.2.256", "192.0.2.256"),
            ("nameserver 192.0.2.1.5", "192.0.2.1.5"),
            ("nameserver 192.0.2.1:53", "192.0.2.1:53"),
            ("nameserver ns.example.org", "ns.example.org"),
            ("nameserver \u{1b}[2J", "[2J"),
            ("nameserver", "no address follows"),
            ("nameserver   ", "no address follows"),
        ] {
            let text = format!("# first\n{line}\nnameserver 192.0.2.53");
            let servers = read(text.as_bytes());
            assert_eq!(addresses(&text), ["192.0.2.53"], "{line:?}");
            let [warning] = &servers.warnings[..] else {
                panic!("{line:?}: {servers:?}")
            };
            for part in ["/etc/resolv.conf:2", named, "dnsbl.resolver"] {
                assert!(warning.contains(part), "{part:?} is not in {warning:?}");
            }
            assert!(!warning.contains('\u{1b}'), "{warning:?}");
        }
    }

    #[test]
    fn three_are_asked_and_without_any_this_machine() {
        let many: String = (1..=5)
            .map(|octet| format!("nameserver 192.0.2.{octet}\n"))
            .collect();
        assert_eq!(addresses(&many), ["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
        for none in ["", "search example.org", "nameserver fe80::1%eth0"] {
            assert_eq!(addresses(none), ["127.0.0.1"], "{none:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_the_file_holds_somebody_can_be_asked(
            text in "(nameserver|search|options|[ \t#;.:%a-f0-9\r\n]|\\PC){0,40}",
        ) {
            let servers = read(text.as_bytes());
            prop_assert!((1..=MOST).contains(&servers.addresses.len()));
        }

        #[test]
        fn every_address_is_read_as_it_is_written(bits in any::<u32>(), bits6 in any::<u128>()) {
            let four = Ipv4Addr::from_bits(bits);
            prop_assert_eq!(ipv4(&four.to_string()), Some(four));
            let six = Ipv6Addr::from_bits(bits6);
            prop_assume!(!six.is_unicast_link_local() && !six.is_unspecified());
            prop_assert_eq!(usable(&six.to_string()), Ok(IpAddr::from(six).to_canonical()));
        }
    }
}
