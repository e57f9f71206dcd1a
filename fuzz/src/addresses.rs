//! Addresses from header fields. Each can be written and read again. The
//! gateway never answers itself. Text in a display name is no address.

use std::collections::HashSet;

use kms_gateway::mail::{Address, Headers, ReversePath, reply_targets, to_addresses};

use super::gateway;

/// Takes the octets as an address list, in To and in Reply-To.
pub fn check(data: &[u8]) {
    let listed = read(data);
    listed.iter().for_each(check_address);
    let written: Vec<String> = listed.iter().map(Address::to_wire).collect();
    assert_eq!(read(written.join(", ").as_bytes()), listed);
    assert_eq!(read(written.join(",\r\n\t").as_bytes()), listed);
    check_targets(data, &listed);
    check_display_name(data);
}

fn read(list: &[u8]) -> Vec<Address> {
    to_addresses(&headers("To", list))
}

fn headers(name: &str, value: &[u8]) -> Headers {
    let mut headers = Headers::new();
    headers.push(name.as_bytes(), value);
    headers
}

fn check_address(address: &Address) {
    let wire = address.to_wire();
    assert!(wire.len() <= 254);
    assert!(!wire.chars().any(char::is_control), "{wire:?}");
    assert!(address.domain().is_ascii());
    assert_eq!(Address::parse(&wire).as_ref(), Ok(address));
    let path = ReversePath::from_smtp(&format!("<{wire}>"));
    assert_eq!(path.address(), Some(address));
    assert!(address.same_mailbox(address));
    check_own(address);
}

/// Case does not decide whether an address is the gateway's.
fn check_own(address: &Address) {
    let gateway = gateway::addresses();
    if !address.local().is_ascii() {
        return;
    }
    for spelling in [
        address.to_wire().to_ascii_uppercase(),
        format!("{}.", address.to_wire()),
    ] {
        if let Ok(other) = Address::parse(&spelling) {
            assert_eq!(gateway.find(&other), gateway.find(address), "{spelling}");
        }
    }
}

fn check_targets(list: &[u8], listed: &[Address]) {
    let gateway = gateway::addresses();
    let targets = reply_targets(&headers("Reply-To", list), &gateway, |_| false);
    let all = targets.answered.len() + targets.left_out.len();
    assert_eq!(all, listed.len());
    let mut seen = HashSet::new();
    for address in &targets.answered {
        assert!(listed.contains(address) && address.is_plain());
        assert!(!gateway.contains(address), "{address}");
        let mailbox = (address.local().to_lowercase(), address.domain());
        assert!(seen.insert(mailbox), "{address} twice");
    }
    let limited = targets.clone().limited(2);
    assert!(limited.answered.len() <= 2 && targets.answered.starts_with(&limited.answered));
    assert_eq!(limited.answered.len() + limited.left_out.len(), all);
}

fn check_display_name(name: &[u8]) {
    let name = String::from_utf8_lossy(name).replace(['\r', '\n'], " ");
    let quoted = name.replace('\\', "\\\\").replace('"', "\\\"");
    let read = read(format!("\"{quoted}\" <a@x.example>").as_bytes());
    assert_eq!(read, [Address::parse("a@x.example").unwrap()]);
}
