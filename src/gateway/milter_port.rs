//! Who can speak for Postfix: where the milter listens by `init`, the directory of
//! its socket, and what `check` has to say of it. Knows no milter.

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

/// The socket's place in Postfix's queue directory, which a chrooted smtpd sees.
const SOCKET: &str = "kms-gateway/milter";

/// What whoever connects can do.
const FORGE: &str = "can speak for Postfix there, and forge clients, logins and \
                     Authentication-Results";

/// Where the milter should listen: a socket for Postfix alone, or, where there is no
/// Postfix, the port of the example.
pub(crate) fn proposal() -> ListenAddress {
    match postfix(&["postconf", "-h", "queue_directory"]) {
        Some(queue) => ListenAddress::Unix(Path::new(queue.trim()).join(SOCKET)),
        None => ListenAddress::default(),
    }
}

/// Makes the directory of the socket, if there is to be one, for the gateway's user
/// and Postfix's group. Says what is left to be done where root must do it.
pub(crate) fn make_directory(config: &Config) -> Result<Option<String>, GatewayError> {
    let directory = SocketDirectory::of(&config.milter.listen);
    let Some(directory) = directory.filter(|directory| !directory.path().exists()) else {
        return Ok(None);
    };
    let Some(mail_owner) = mail_owner().filter(|_| geteuid().is_root()) else {
        let Missing { problem, remedy } = missing(&directory);
        return Ok(Some(format!("milter.listen: {problem}; {remedy}")));
    };
    let store = config.store.path.parent().unwrap_or(Path::new("."));
    let owner = fs::metadata(store)
        .map_err(|error| GatewayError::file(store, "read", &error))?
        .uid();
    directory
        .make(&owner.to_string(), &mail_owner)
        .map_err(GatewayError::other)?;
    Ok(None)
}

/// What others than Postfix could do, and what keeps Postfix from it.
pub(crate) fn warnings(config: &Config) -> Vec<String> {
    let listen = &config.milter.listen;
    match listen {
        ListenAddress::Inet(_) if !is_on_loopback(listen) => vec![format!(
            "milter.listen is {listen}: whoever reaches that address {FORGE}; {}, or write an \
             address on loopback",
            remedy()
        )],
        ListenAddress::Inet(_) => Vec::new(),
        ListenAddress::Unix(socket) => socket_warnings(config, socket),
    }
}

/// What is to be known though it is no fault.
pub(crate) fn note(config: &Config) -> Option<String> {
    let listen = &config.milter.listen;
    is_on_loopback(listen).then(|| {
        format!(
            "milter.listen is {listen}: every user of this machine {FORGE}; {}",
            remedy()
        )
    })
}

/// Whether only this machine reaches a port; false of a Unix socket.
pub(crate) fn is_on_loopback(listen: &ListenAddress) -> bool {
    let ListenAddress::Inet(address) = listen else {
        return false;
    };
    // Who can't be found out is no loopback.
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
    // The directory of a socket that can't be bound keeps the gateway from its start.
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
    let unreachable = mail_owner().and_then(|owner| directory.warning(&owner));
    warnings.extend(unreachable.map(|warning| format!("milter.listen: {warning}")));
    warnings
}

/// A directory that is not there, and how to make it.
pub(crate) struct Missing {
    pub(crate) problem: String,
    pub(crate) remedy: String,
}

/// The directory of the milter's socket, if it is not there.
pub(crate) fn missing_directory(config: &Config) -> Option<Missing> {
    let directory = SocketDirectory::of(&config.milter.listen)?;
    (!directory.path().exists()).then(|| missing(&directory))
}

fn missing(directory: &SocketDirectory) -> Missing {
    let shown = directory.path().display();
    Missing {
        problem: format!("{shown} is not there"),
        remedy: format!(
            "kms-gateway-postfix (postfix/install) makes it, or: install -d -o kms-gateway -g \
             postfix -m 2750 {shown}"
        ),
    }
}

fn mail_owner() -> Option<String> {
    postfix(&["postconf", "-h", "mail_owner"]).map(|owner| owner.trim().to_owned())
}

/// What a command prints; none where it fails or there is no Postfix.
fn postfix(command: &[&str]) -> Option<String> {
    let (program, arguments) = command.split_first()?;
    let output = Command::new(program).args(arguments).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
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
