//! Keeps everybody but Postfix away from the milter: proposes its address for `init`,
//! makes the directory of its socket, and warns in `check`. Knows no milter.

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    net::{IpAddr, ToSocketAddrs as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::geteuid;

use super::CommandError;
use crate::config::{Config, ListenAddress};

/// The socket's path in Postfix's queue directory, which a chrooted smtpd can see.
const SOCKET: &str = "kms-gateway/milter";

/// For the owner and Postfix's group. The set-group-id bit hands the group to the
/// socket.
const DIRECTORY_MODE: u32 = 0o2750;

/// The harm that anybody who connects can do.
const FORGE: &str = "can speak for Postfix there, and forge clients, logins and \
                     Authentication-Results";

/// The proposed address of the milter: a socket for Postfix alone, or without a
/// Postfix the default port.
pub(super) fn proposal() -> ListenAddress {
    match postfix(&["postconf", "-h", "queue_directory"]) {
        Some(queue) => ListenAddress::Unix(Path::new(queue.trim()).join(SOCKET)),
        None => ListenAddress::default(),
    }
}

/// Makes the directory of the configured socket for the gateway's user and Postfix's
/// group. Returns a hint if only root can do that.
pub(super) fn make_directory(config: &Config) -> Result<Option<String>, CommandError> {
    let Some(directory) = socket_directory(config) else {
        return Ok(None);
    };
    if directory.exists() {
        return Ok(None);
    }
    let Some(group) = postfix_group().filter(|_| geteuid().is_root()) else {
        let Missing { problem, remedy } = missing(&directory);
        return Ok(Some(format!("milter.listen: {problem}; {remedy}")));
    };
    let make = || -> io::Result<()> {
        let owner = config.store.path.parent().map(fs::metadata).transpose()?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&directory)?;
        chown(&directory, owner.map(|owner| owner.uid()), Some(group))?;
        fs::set_permissions(&directory, Permissions::from_mode(DIRECTORY_MODE))
    };
    make().map_err(|error| CommandError::file(&directory, "made", &error))?;
    Ok(None)
}

/// Warns if others than Postfix can connect to the milter, or if Postfix can't.
pub(super) fn warnings(config: &Config) -> Vec<String> {
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
pub(super) fn note(config: &Config) -> Option<String> {
    let listen = &config.milter.listen;
    is_on_loopback(listen).then(|| {
        format!(
            "milter.listen is {listen}: every user of this machine {FORGE}; {}",
            remedy()
        )
    })
}

/// Whether only this machine can reach the port. False for a Unix socket.
pub(super) fn is_on_loopback(listen: &ListenAddress) -> bool {
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

fn socket_directory(config: &Config) -> Option<PathBuf> {
    match &config.milter.listen {
        ListenAddress::Unix(socket) => socket.parent().map(Path::to_owned),
        ListenAddress::Inet(_) => None,
    }
}

fn socket_warnings(config: &Config, socket: &Path) -> Vec<String> {
    const OTHERS_WRITE: u32 = 0o002;
    const OTHERS_CONNECT: u32 = 0o006;
    const SET_GROUP_ID: u32 = 0o2000;
    let Some(directory) = socket_directory(config) else {
        return Vec::new();
    };
    // A missing directory needs no warning: the gateway does not start without it.
    let Ok(found) = fs::metadata(&directory) else {
        return Vec::new();
    };
    let mut warnings = Vec::new();
    let shown = directory.display();
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
    let is_passed_on = found.mode() & SET_GROUP_ID != 0;
    let group_map = fs::read_to_string("/proc/self/gid_map").unwrap_or_default();
    if postfix_group()
        .is_some_and(|group| seen_as(group, &group_map) != found.gid() || !is_passed_on)
    {
        warnings.push(format!(
            "milter.listen: smtpd can connect only to a socket of its group, which {shown} must pass \
             on: chgrp {} {shown}, chmod 2750 {shown}",
            mail_owner().unwrap_or_else(|| "postfix".to_owned())
        ));
    }
    warnings
}

/// A missing directory, and how to make it.
pub(super) struct Missing {
    pub(super) problem: String,
    pub(super) remedy: String,
}

/// The directory of the milter's socket, if it is missing.
pub(super) fn missing_directory(config: &Config) -> Option<Missing> {
    let directory = socket_directory(config)?;
    (!directory.exists()).then(|| missing(&directory))
}

fn missing(directory: &Path) -> Missing {
    let shown = directory.display();
    Missing {
        problem: format!("{shown} does not exist"),
        remedy: format!(
            "make it with kms-gateway postfix install, or with install -d -o kms-gateway -g \
             postfix -m 2750 {shown}"
        ),
    }
}

fn mail_owner() -> Option<String> {
    postfix(&["postconf", "-h", "mail_owner"]).map(|owner| owner.trim().to_owned())
}

/// The number of Postfix's group.
fn postfix_group() -> Option<u32> {
    postfix(&["id", "-g", &mail_owner()?])?.trim().parse().ok()
}

/// The group that this process sees on a file of `group`, by the content of
/// `/proc/self/gid_map`. With the unit's `PrivateUsers=` files of all other groups
/// seem to belong to `nogroup` (user_namespaces(7)).
fn seen_as(group: u32, group_map: &str) -> u32 {
    const NOGROUP: u32 = 65534;
    let is_mapped = group_map.lines().any(|line| {
        let mut fields = line.split_whitespace().map(str::parse::<u32>);
        match (fields.next(), fields.next(), fields.next()) {
            (Some(Ok(first)), Some(Ok(_)), Some(Ok(count))) => group
                .checked_sub(first)
                .is_some_and(|offset| offset < count),
            _ => false,
        }
    });
    if is_mapped || group_map.is_empty() {
        group
    } else {
        NOGROUP
    }
}

/// Runs a command, and returns its standard output. None if it fails or is missing.
pub(super) fn postfix(command: &[&str]) -> Option<String> {
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
    fn a_group_outside_the_user_namespace_is_seen_as_nogroup() {
        let everybody = "         0          0 4294967295\n";
        let private = "         0          0          1\n       998        998          1\n";
        for (group, group_map, expected) in [
            (118, everybody, 118),
            (118, private, 65534),
            (998, private, 998),
            (999, private, 65534),
            (0, private, 0),
            (118, "", 118),
        ] {
            assert_eq!(seen_as(group, group_map), expected, "{group} {group_map}");
        }
    }

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
