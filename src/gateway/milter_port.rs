//! Keeps everybody but Postfix away from the milter: proposes its address for `init`,
//! makes the directory of its socket, and warns in `check`. Knows no milter.

use std::{
    fs,
    net::{IpAddr, ToSocketAddrs as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::Command,
};

use rustix::process::geteuid;

use super::GatewayError;
use crate::{
    config::{Config, ListenAddress},
    wiring::SocketDirectory,
};

/// The socket's path in Postfix's queue directory, which a chrooted smtpd can see.
const SOCKET: &str = "kms-gateway/milter";

/// The harm that anybody who connects can do.
const FORGE: &str = "can speak for Postfix there, and forge clients, logins and \
                     Authentication-Results";

/// The proposed address of the milter: a socket for Postfix alone, or without a
/// Postfix the default port.
pub(crate) fn proposal() -> ListenAddress {
    match postconf("queue_directory") {
        Some(queue) => ListenAddress::Unix(Path::new(&queue).join(SOCKET)),
        None => ListenAddress::default(),
    }
}

/// Makes the directory of the configured socket for the gateway's user and Postfix's
/// group. Returns a hint if only root can do that.
pub(crate) fn make_directory(config: &Config) -> Result<Option<String>, GatewayError> {
    let directory = SocketDirectory::of(&config.milter.listen);
    let Some(directory) = directory.filter(|directory| !directory.path().exists()) else {
        return Ok(None);
    };
    let store = config.store.path.parent().unwrap_or(Path::new("."));
    // With PostgreSQL nothing need be there.
    let shows_owner = config.store.postgresql.is_none() || store.exists();
    let can_make = shows_owner && geteuid().is_root();
    let Some(mail_owner) = postconf("mail_owner").filter(|_| can_make) else {
        let Missing { problem, remedy } = missing(&directory);
        return Ok(Some(format!("milter.listen: {problem}; {remedy}")));
    };
    let owner = fs::metadata(store)
        .map_err(|error| GatewayError::file(store, "read", &error))?
        .uid();
    directory
        .make(&owner.to_string(), &mail_owner)
        .map_err(GatewayError::other)?;
    Ok(None)
}

/// Warns if others than Postfix can connect to the milter, or if Postfix can't.
pub(crate) fn warnings(config: &Config) -> Vec<String> {
    let listen = &config.milter.listen;
    match listen {
        ListenAddress::Inet(_) if !is_on_loopback(listen) => vec![format!(
            "milter.listen is {listen}: anybody who reaches that address {FORGE}; {}, or write an \
             address on loopback",
            remedy()
        )],
        ListenAddress::Inet(_) => Vec::new(),
        ListenAddress::Unix(socket) => socket_warnings(config, socket),
    }
}

/// Notes that local users can connect to a port on loopback, which is no fault.
pub(crate) fn note(config: &Config) -> Option<String> {
    let listen = &config.milter.listen;
    is_on_loopback(listen).then(|| {
        format!(
            "milter.listen is {listen}: every user of this machine {FORGE}; {}",
            remedy()
        )
    })
}

/// Whether only this machine can reach the port. False for a Unix socket.
pub(crate) fn is_on_loopback(listen: &ListenAddress) -> bool {
    let ListenAddress::Inet(address) = listen else {
        return false;
    };
    // A name that can't be resolved does not count as loopback.
    address.to_socket_addrs().is_ok_and(|mut addresses| {
        addresses.all(|address| IpAddr::is_loopback(&address.ip().to_canonical()))
    })
}

fn remedy() -> String {
    let socket = match proposal() {
        ListenAddress::Unix(socket) => socket,
        ListenAddress::Inet(_) => Path::new("/var/spool/postfix").join(SOCKET),
    };
    format!(
        "a Unix socket is for Postfix alone: kms-gateway config set milter.listen unix:{}, then \
         kms-gateway postfix install",
        socket.display()
    )
}

fn socket_warnings(config: &Config, socket: &Path) -> Vec<String> {
    const OTHERS_WRITE: u32 = 0o002;
    const OTHERS_CONNECT: u32 = 0o006;
    let Some(directory) = SocketDirectory::of(&config.milter.listen) else {
        return Vec::new();
    };
    // A missing directory needs no warning: the gateway does not start without it.
    let Ok(found) = fs::metadata(directory.path()) else {
        return Vec::new();
    };
    let mut warnings = Vec::new();
    let shown = directory.path().display();
    if found.mode() & OTHERS_WRITE != 0 {
        warnings.push(format!(
            "milter.listen: every user can put another socket into {shown}, and take the gateway's \
             mail; chmod o-w {shown}"
        ));
    }
    if fs::metadata(socket).is_ok_and(|socket| socket.mode() & OTHERS_CONNECT != 0) {
        let socket = socket.display();
        warnings.push(format!(
            "milter.listen: every user {FORGE}, at {socket}; chmod o-rw {socket}"
        ));
    }
    let unreachable = postconf("mail_owner").and_then(|owner| directory.warning(&owner));
    warnings.extend(unreachable.map(|warning| format!("milter.listen: {warning}")));
    warnings
}

/// A missing directory, and how to make it.
pub(crate) struct Missing {
    pub(crate) problem: String,
    pub(crate) remedy: String,
}

/// The directory of the milter's socket, if it is missing.
pub(crate) fn missing_directory(config: &Config) -> Option<Missing> {
    let directory = SocketDirectory::of(&config.milter.listen)?;
    (!directory.path().exists()).then(|| missing(&directory))
}

fn missing(directory: &SocketDirectory) -> Missing {
    let shown = directory.path().display();
    Missing {
        problem: format!("{shown} does not exist"),
        remedy: format!(
            "make it with kms-gateway postfix install, or with install -d -o kms-gateway -g \
             postfix -m 2750 {shown}"
        ),
    }
}

/// The value of Postfix's `parameter`. None if postconf(1) fails or is missing.
fn postconf(parameter: &str) -> Option<String> {
    let output = Command::new("postconf").args(["-h", parameter]).output();
    let output = output.ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn loopback_is_told_from_the_rest() {
        for (listen, expected) in [
            ("inet:127.0.0.1:8890", true),
            ("inet:127.9.8.7:1", true),
            ("inet:localhost:8890", true),
            ("inet:[::1]:8890", true),
            ("inet:[::ffff:127.0.0.1]:8890", true),
            ("inet:0.0.0.0:8890", false),
            ("inet:[::]:8890", false),
            ("inet:192.0.2.1:8890", false),
            ("unix:/run/milter", false),
        ] {
            assert_eq!(
                is_on_loopback(&listen.parse().unwrap()),
                expected,
                "{listen}"
            );
        }
    }
}
