//! Finds Postfix's configuration, and verifies that it can be read and changed.

use std::path::{Path, PathBuf};

use super::{
    WiringError,
    kept::Changed,
    needs::resolved,
    postconf::run_program,
    service::{OLDEST, Version},
};

/// Finds Postfix: its directory (the given one, or else postconf's default) and version.
///
/// # Errors
/// Postfix is missing or too old, or main.cf or master.cf is missing or a link.
pub(super) fn find(given: Option<&Path>) -> Result<(PathBuf, Version), WiringError> {
    let directory = match given {
        Some(given) => resolved(given),
        None => {
            let shown = run_program("postconf", &["-h", "config_directory"])?;
            resolved(Path::new(shown.trim_end_matches('\n')))
        }
    };
    let version = version()?;
    require_files(&directory)?;
    Ok((directory, version))
}

/// The version of the installed Postfix.
fn version() -> Result<Version, WiringError> {
    let shown = run_program("postconf", &["-dh", "mail_version"])?;
    let shown = shown.trim();
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

/// Verifies that main.cf and master.cf are files.
fn require_files(directory: &Path) -> Result<(), WiringError> {
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
