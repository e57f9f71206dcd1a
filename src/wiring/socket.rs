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

pub(super) struct SocketDirectory(PathBuf);

impl SocketDirectory {
    /// None if the milter listens at a TCP port.
    pub(super) fn of(listen: &ListenAddress) -> Option<Self> {
        match listen {
            ListenAddress::Unix(path) => Some(Self(resolved(path).parent()?.to_owned())),
            ListenAddress::Inet(_) => None,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn exists(&self) -> bool {
        self.0.exists()
    }

    /// A warning if Postfix, whose user is `mail_owner`, can't connect to the socket.
    pub(super) fn warning(&self, mail_owner: &str) -> Option<String> {
        let group: u32 = run_program("id", &["-g", mail_owner])
            .ok()?
            .trim()
            .parse()
            .ok()?;
        let found = fs::metadata(&self.0).ok()?;
        (found.gid() != group || found.mode() & SET_GROUP_ID == 0).then(|| {
            format!(
                "{0}: smtpd can connect only if the socket is of Postfix's group: chgrp {1} {0}, \
                 chmod 2750 {0}",
                self.0.display(),
                group_of(mail_owner)
            )
        })
    }

    /// The command that makes the directory, quoted for a shell.
    pub(super) fn typed(&self, mail_owner: &str) -> String {
        let arguments = self.arguments(mail_owner);
        typed(
            &[
                &["install"],
                arguments.each_ref().map(String::as_str).as_slice(),
            ]
            .concat(),
        )
    }

    pub(super) fn make(&self, mail_owner: &str) -> Result<(), WiringError> {
        let arguments = self.arguments(mail_owner);
        run_program("install", &arguments.each_ref().map(String::as_str)).map(drop)
    }

    fn arguments(&self, mail_owner: &str) -> [String; 8] {
        let owner = match run_program("id", &["-u", USER]) {
            Ok(_) => USER,
            Err(_) => "root",
        };
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
