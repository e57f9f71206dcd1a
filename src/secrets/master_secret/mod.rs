//! The master secret: 32 random bytes that protect every key at rest. It comes
//! from a file that only the gateway can read, from a systemd credential, or, if
//! the operator says so, from the environment.
//!
//! It is written the same way everywhere: 64 hexadecimal digits of either case,
//! and an optional line end. `openssl rand -hex 32` makes one.

mod error;
#[cfg(test)]
mod tests;

use std::env;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::process::geteuid;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::{primitives::hkdf_sha384, secret::Secret};
use crate::new_file;

pub(crate) use error::MasterSecretError;

/// Digits, CRLF, and one byte more to notice a longer text.
const LONGEST_TEXT: usize = 64 + 2 + 1;

/// Permission bits that a file with the master secret must not have.
#[derive(Clone, Copy)]
struct Forbidden(u32);

impl Forbidden {
    /// An ordinary file: no rights for group and others.
    const IN_A_FILE: Self = Self(0o077);
    /// A systemd credential of a unit with `User=`: root owns it, and an ACL
    /// lets the user read it. The group bits of the mode then show the mask of
    /// that ACL, not a right of the group.
    const IN_A_CREDENTIAL: Self = Self(0o037);
}

/// The 32 bytes above every key at rest. Never shown or logged.
#[derive(Debug)]
pub struct MasterSecret(Secret<32>);

impl MasterSecret {
    /// Reads it from a regular file that belongs to this process's user or to
    /// root, and to which neither group nor others have any right. Root may read
    /// the file of any user.
    ///
    /// # Errors
    /// [`MasterSecretError`], which names the file, the fault and the remedy.
    pub fn from_file(path: &Path) -> Result<Self, MasterSecretError> {
        Self::read(path, Forbidden::IN_A_FILE)
    }

    /// Reads the systemd credential `name` (systemd.exec(5), "Credentials").
    ///
    /// # Errors
    /// [`MasterSecretError`], which names the credential, the fault and the
    /// remedy.
    pub(crate) fn from_systemd_credential(name: &str) -> Result<Self, MasterSecretError> {
        let directory = env::var_os("CREDENTIALS_DIRECTORY");
        Self::from_credentials_directory(directory.map(PathBuf::from), name)
    }

    fn from_credentials_directory(
        directory: Option<PathBuf>,
        name: &str,
    ) -> Result<Self, MasterSecretError> {
        if matches!(name, "" | "." | "..") || name.contains('/') {
            return Err(MasterSecretError::CredentialName {
                name: name.to_owned(),
            });
        }
        let directory = directory.ok_or_else(|| MasterSecretError::NoCredentials {
            name: name.to_owned(),
        })?;
        Self::read(&directory.join(name), Forbidden::IN_A_CREDENTIAL)
    }

    /// Reads it from the environment. Every process of the same user can see the
    /// environment, so this is used only if the operator has chosen it.
    ///
    /// # Errors
    /// [`MasterSecretError`], which names the variable and the fault.
    pub(crate) fn from_environment(variable: &str) -> Result<Self, MasterSecretError> {
        Self::from_variable(variable, env::var(variable))
    }

    fn from_variable(
        variable: &str,
        value: Result<String, env::VarError>,
    ) -> Result<Self, MasterSecretError> {
        match value.map(Zeroizing::new) {
            Ok(text) => Self::from_text(text.as_bytes(), || format!("${variable}")),
            Err(env::VarError::NotPresent) => Err(MasterSecretError::NoVariable {
                variable: variable.to_owned(),
            }),
            Err(env::VarError::NotUnicode(_)) => Err(MasterSecretError::Spelling {
                origin: format!("${variable}"),
            }),
        }
    }

    /// Makes a new master secret and writes it to a new file of mode 0600. The
    /// file is whole and synced before this returns.
    ///
    /// # Errors
    /// [`MasterSecretError::Exists`] if the file exists, whatever is in it;
    /// [`MasterSecretError::Write`] if the disk refuses;
    /// [`MasterSecretError::Random`].
    pub(crate) fn create_file(path: &Path) -> Result<Self, MasterSecretError> {
        let secret = Secret::random()?;
        write_new(path, &secret).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => MasterSecretError::Exists {
                path: path.to_owned(),
            },
            _ => MasterSecretError::Write {
                path: path.to_owned(),
                source,
            },
        })?;
        Ok(Self(secret))
    }

    /// Derives the key for one purpose (HKDF-SHA-384). Different labels give
    /// unrelated keys, and none of them reveals the master secret.
    #[must_use]
    pub fn derive(&self, label: &str) -> Secret<32> {
        hkdf_sha384(
            self.0.expose(),
            b"",
            format!("kms-gateway|{label}").as_bytes(),
        )
    }

    /// Whether both are equal, compared in constant time.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    fn read(path: &Path, forbidden: Forbidden) -> Result<Self, MasterSecretError> {
        let unreadable = |source| MasterSecretError::Read {
            path: path.to_owned(),
            source,
        };
        let mut file = OpenOptions::new()
            .read(true)
            // Refuses a pipe instead of waiting for its writer.
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open(path)
            .map_err(unreadable)?;
        // Looks at the open file, which nobody can exchange in between.
        let metadata = file.metadata().map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(MasterSecretError::NotRegular {
                path: path.to_owned(),
            });
        }
        check_access(
            path,
            metadata.mode(),
            metadata.uid(),
            geteuid().as_raw(),
            forbidden,
        )?;
        let mut text = Zeroizing::new([0; LONGEST_TEXT]);
        let text = read_some(&mut file, text.as_mut_slice()).map_err(unreadable)?;
        Self::from_text(text, || path.display().to_string())
    }

    fn from_text(text: &[u8], origin: impl FnOnce() -> String) -> Result<Self, MasterSecretError> {
        let ended = text
            .strip_suffix(b"\r\n")
            .or_else(|| text.strip_suffix(b"\n"));
        let digits = ended.unwrap_or(text);
        std::str::from_utf8(digits)
            .ok()
            .and_then(Secret::from_hex)
            .map(Self)
            .ok_or_else(|| MasterSecretError::Spelling { origin: origin() })
    }
}

fn check_access(
    path: &Path,
    mode: u32,
    owner: u32,
    ourselves: u32,
    forbidden: Forbidden,
) -> Result<(), MasterSecretError> {
    // Root may run commands for a gateway that runs as another user.
    if owner != ourselves && owner != 0 && ourselves != 0 {
        return Err(MasterSecretError::Owner {
            path: path.to_owned(),
            owner,
            ourselves,
        });
    }
    if mode & forbidden.0 != 0 {
        return Err(MasterSecretError::Mode {
            path: path.to_owned(),
            mode: mode & 0o7777,
        });
    }
    Ok(())
}

/// Reads into `buffer` until it is full or the file ends. The bytes pass through
/// no other buffer.
fn read_some<'buffer>(file: &mut File, buffer: &'buffer mut [u8]) -> io::Result<&'buffer [u8]> {
    let mut length = 0;
    while let Some(rest) = buffer.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(buffer.get(..length).unwrap_or_default())
}

fn write_new(path: &Path, secret: &Secret<32>) -> io::Result<()> {
    let mut text = Zeroizing::new([b'\n'; 65]);
    let (digits, _line_end) = text.split_at_mut(64);
    hex::encode_to_slice(secret.expose(), digits).map_err(io::Error::other)?;
    new_file::create(path, 0o600, text.as_slice())
}
