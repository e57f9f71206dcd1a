//! The directory of the milter's Unix socket. The gateway writes there. Postfix's group may
//! enter, and the set-group-ID bit passes that group on to the socket.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::{
    WiringError,
    needs::resolved,
    postconf::{run_program, typed},
};
use crate::config::ListenAddress;

const SET_GROUP_ID: u32 = 0o2000;

/// The user that runs the gateway by the package's unit.
const USER: &str = "kms-gateway";

/// The directory of the milter's Unix socket.
#[derive(Debug)]
pub(crate) struct SocketDirectory(PathBuf);

impl SocketDirectory {
    /// None if the milter listens at a TCP port.
    pub(crate) fn of(listen: &ListenAddress) -> Option<Self> {
        match listen {
            ListenAddress::Unix(path) => Some(Self(resolved(path).parent()?.to_owned())),
            ListenAddress::Inet(_) => None,
        }
    }

    /// The path without links and dots, as far as it exists.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// A warning if Postfix, whose user is `mail_owner`, can't connect to the socket.
    pub(crate) fn warning(&self, mail_owner: &str) -> Option<String> {
        let group = run_program("id", &["-g", mail_owner]).ok()?;
        let group = group.trim().parse().ok()?;
        let group_map = fs::read_to_string("/proc/self/gid_map").unwrap_or_default();
        let found = fs::metadata(&self.0).ok()?;
        let is_passed_on = found.mode() & SET_GROUP_ID != 0;
        (seen_as(group, &group_map) != found.gid() || !is_passed_on).then(|| {
            format!(
                "smtpd can connect only to a socket of its group, which {0} must pass on: chgrp {1} \
                 {0}, chmod 2750 {0}",
                self.0.display(),
                group_of(mail_owner)
            )
        })
    }

    /// The command by which the installer makes the directory, quoted for a shell.
    pub(super) fn typed(&self, mail_owner: &str) -> String {
        let arguments = self.arguments(package_user(), mail_owner);
        format!(
            "install {}",
            typed(&arguments.each_ref().map(String::as_str))
        )
    }

    /// Makes the directory for the user `owner`, a name or a number, and for the group of
    /// Postfix's user `mail_owner`.
    ///
    /// # Errors
    /// install(1) fails.
    pub(crate) fn make(&self, owner: &str, mail_owner: &str) -> Result<(), WiringError> {
        let arguments = self.arguments(owner, mail_owner);
        run_program("install", &arguments.each_ref().map(String::as_str)).map(drop)
    }

    fn arguments(&self, owner: &str, mail_owner: &str) -> [String; 8] {
        let directory = self.0.display().to_string();
        let group = group_of(mail_owner);
        ["-d", "-o", owner, "-g", &group, "-m", "2750", &directory].map(str::to_owned)
    }
}

/// The group of Postfix's own user.
fn group_of(mail_owner: &str) -> String {
    let group = run_program("id", &["-gn", mail_owner]).unwrap_or_default();
    match group.trim() {
        "" => mail_owner.to_owned(),
        group => group.to_owned(),
    }
}

/// The user that runs the gateway by the package's unit; root without the package.
pub(super) fn package_user() -> &'static str {
    match run_program("id", &["-u", USER]) {
        Ok(_) => USER,
        Err(_) => "root",
    }
}

/// The group that this process sees on a file of `group`, by the content of
/// `/proc/self/gid_map`. With the unit's `PrivateUsers=` files of all other groups seem to
/// belong to `nogroup` (user_namespaces(7)).
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

#[cfg(test)]
mod tests {
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
}
