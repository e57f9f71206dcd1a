//! Finds Postfix's configuration, and verifies that it can be read and changed.

use std::path::{Path, PathBuf};

use super::{
    WiringError,
    kept::Changed,
    needs::resolved,
    postconf::Postconf,
    service::{OLDEST, Version},
};

/// Postfix's directory: the given one, or else postconf's default.
pub(super) fn configuration_directory(given: Option<&Path>) -> Result<PathBuf, WiringError> {
    let directory = match given {
        Some(given) => given.to_owned(),
        None => Postconf::default_directory()?,
    };
    Ok(resolved(&directory))
}

/// The version of the Postfix that is installed.
pub(super) fn version() -> Result<Version, WiringError> {
    let shown = Postconf::version()?;
    let mut numbers = shown.split('.').map_while(|number| number.parse().ok());
    let version = match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) => (major, minor),
        _ => {
            return WiringError::refused(format!(
                "postconf reports the version {shown}, which is no number; check that postconf is \
                 Postfix's"
            ));
        }
    };
    if version < OLDEST {
        return WiringError::refused(format!(
            "this is Postfix {shown}; upgrade to 3.7 or later, which has inline: maps and milters \
             with settings in braces"
        ));
    }
    Ok(version)
}

/// Verifies that Postfix is recent enough, and that main.cf and master.cf are files.
pub(super) fn require_files(directory: &Path) -> Result<(), WiringError> {
    version()?;
    for file in [Changed::Main, Changed::Master] {
        let file = directory.join(file.name());
        let Ok(metadata) = file.symlink_metadata() else {
            return WiringError::refused(format!(
                "there is no {}; name Postfix's configuration by --config-directory",
                file.display()
            ));
        };
        if metadata.is_symlink() {
            return WiringError::refused(format!(
                "{} is a symbolic link, which postconf would replace by a file; make it a file",
                file.display()
            ));
        }
    }
    Ok(())
}
