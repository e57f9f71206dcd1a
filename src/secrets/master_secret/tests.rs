//! Every fault of a master secret and the error for it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::secrets::secret::assert_debug_hides;

const TEXT: &str = "00112233445566778899AABBCCDDEEFF00112233445566778899aabbccddeeff";

fn file_with(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("master-secret");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    (directory, path)
}

#[test]
fn a_created_file_is_private_and_read_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("master-secret");
    let created = MasterSecret::create_file(&path).unwrap();
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.len()), (0o600, 65));
    let read = MasterSecret::from_file(&path).unwrap();
    assert_eq!(created.0.expose(), read.0.expose());
    assert_ne!(read.0.expose(), &[0; 32]);
    let other = MasterSecret::create_file(&directory.path().join("other")).unwrap();
    assert!(created.is(&read) && !created.is(&other));
}

#[test]
fn an_existing_file_is_never_overwritten() {
    let (_directory, path) = file_with("precious", 0o600);
    let error = MasterSecret::create_file(&path).unwrap_err();
    assert!(matches!(error, MasterSecretError::Exists { .. }), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn a_directory_that_is_missing_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = &directory.path().join("missing/master-secret");
    let named = |action| format!("cannot {action} the master secret {}: ", path.display());
    let error = MasterSecret::create_file(path).unwrap_err().to_string();
    assert!(error.starts_with(&named("write")), "{error}");
    let error = MasterSecret::from_file(path).unwrap_err().to_string();
    assert!(error.starts_with(&named("read")), "{error}");
}

#[test]
fn one_spelling_with_or_without_a_line_end() {
    for text in [TEXT.to_owned(), format!("{TEXT}\n"), format!("{TEXT}\r\n")] {
        let (_directory, path) = file_with(&text, 0o400);
        let secret = MasterSecret::from_file(&path).unwrap();
        assert_eq!(secret.0.expose().as_slice(), hex::decode(TEXT).unwrap());
    }
    let wrong = [
        String::new(),
        "\n".to_owned(),
        TEXT[1..].to_owned(),
        format!("{TEXT}0"),
        format!("{TEXT}\n\n"),
        format!("{TEXT}\r"),
        format!(" {TEXT}"),
        format!("{TEXT} "),
        format!("0x{}", &TEXT[2..]),
        "x".repeat(64),
        "\u{e9}".repeat(32),
        "s".repeat(100_000),
    ];
    for text in wrong {
        let (_directory, path) = file_with(&text, 0o600);
        let error = MasterSecret::from_file(&path).unwrap_err();
        assert!(
            matches!(error, MasterSecretError::Spelling { .. }),
            "{error}"
        );
        assert!(error.to_string().starts_with(&path.display().to_string()));
    }
}

#[test]
fn what_is_wrong_with_the_spelling_is_not_quoted() {
    let almost = format!("{}G", &TEXT[1..]);
    let (_directory, path) = file_with(&almost, 0o600);
    let error = MasterSecret::from_file(&path).unwrap_err();
    for text in [error.to_string(), format!("{error:?}")] {
        assert!(!text.contains(&TEXT[1..9]), "{text}");
    }
}

#[test]
fn a_file_open_to_others_is_refused_with_its_mode() {
    for mode in [0o640, 0o620, 0o610, 0o604, 0o602, 0o601, 0o644] {
        let (_directory, path) = file_with(TEXT, mode);
        let error = MasterSecret::from_file(&path).unwrap_err();
        let MasterSecretError::Mode { mode: shown, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(shown, mode);
        assert!(
            error
                .to_string()
                .ends_with(&format!("chmod 600 {}", path.display()))
        );
    }
}

#[test]
fn a_credential_may_show_the_mask_of_its_acl_and_no_more() {
    for (mode, taken) in [(0o400, true), (0o440, true), (0o460, false), (0o444, false)] {
        let (directory, _path) = file_with(TEXT, mode);
        let directory = Some(directory.path().to_owned());
        let read = MasterSecret::from_credentials_directory(directory, "master-secret");
        assert_eq!(read.is_ok(), taken, "{mode:04o}");
    }
}

#[test]
fn a_credential_stays_in_its_directory() {
    let (directory, path) = file_with(TEXT, 0o600);
    for name in [
        "",
        ".",
        "..",
        "/etc/passwd",
        "../master-secret",
        path.to_str().unwrap(),
    ] {
        let inside = Some(directory.path().to_owned());
        let error = MasterSecret::from_credentials_directory(inside, name).unwrap_err();
        assert!(
            matches!(error, MasterSecretError::CredentialName { .. }),
            "{error}"
        );
    }
    let error = MasterSecret::from_credentials_directory(None, "master").unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("LoadCredential=master:FILE to the service's unit")
    );
}

#[test]
fn only_root_and_ourselves_may_own_it() {
    let path = Path::new("master-secret");
    let check =
        |owner, ourselves| check_access(path, 0o100_600, owner, ourselves, Forbidden::IN_A_FILE);
    assert!(check(0, 1000).is_ok());
    assert!(check(1000, 1000).is_ok());
    assert!(
        check(1000, 0).is_ok(),
        "root operates another user's gateway"
    );
    let error = check(1001, 1000).unwrap_err();
    assert!(matches!(error, MasterSecretError::Owner { .. }), "{error}");
    assert!(error.to_string().ends_with("chown 1000 master-secret"));
}

#[test]
fn only_a_regular_file_is_read_and_a_pipe_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    let made = std::process::Command::new("mkfifo")
        .arg("-m600")
        .arg(&pipe)
        .status()
        .unwrap();
    assert!(made.success());
    for path in [pipe.as_path(), directory.path(), Path::new("/dev/null")] {
        let error = MasterSecret::from_file(path).unwrap_err();
        assert!(
            matches!(error, MasterSecretError::NotRegular { .. }),
            "{error}"
        );
    }
}

#[test]
fn the_environment_names_its_variable() {
    let read = MasterSecret::from_variable("KMS_MASTER", Ok(TEXT.to_owned())).unwrap();
    assert_eq!(hex::encode(read.0.expose()), TEXT.to_lowercase());
    let error = MasterSecret::from_variable("KMS_MASTER", Ok("no".to_owned())).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("$KMS_MASTER is not 64 hexadecimal digits")
    );
    let error = MasterSecret::from_environment("KMS_MASTER_NOT_SET").unwrap_err();
    assert!(
        matches!(error, MasterSecretError::NoVariable { .. }),
        "{error}"
    );
}

/// The value was computed by another implementation of RFC 5869.
#[test]
fn a_derived_key_stays_the_same_and_is_the_labels_own() {
    let secret = MasterSecret(Secret::from_hex(TEXT).unwrap());
    assert_eq!(
        hex::encode(secret.derive("storage-key").expose()),
        "826b0bc6e797eabf3948b74ad4bd8c56b79437ef04f335e6d20539ea6ab17602"
    );
    assert_ne!(
        secret.derive("storage-key").expose(),
        secret.derive("audit").expose()
    );
    assert_ne!(secret.derive("audit").expose(), secret.0.expose());
}

#[test]
fn debug_shows_no_byte() {
    let secret = MasterSecret(Secret::random().unwrap());
    assert_debug_hides(&secret, secret.0.expose());
}
