//! `scripts/demo --gateway FILE`: refuses a FILE that is no gateway at once, and
//! needs nothing of what builds one.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use tempfile::TempDir;

use crate::harness::{Output, output, shim};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn demo(gateway: &Path, path: &str) -> Output {
    let mut demo = Command::new(Path::new(ROOT).join("scripts/demo"));
    demo.arg("--gateway").arg(gateway).env("PATH", path);
    output(&mut demo, b"")
}

fn own_path() -> String {
    std::env::var("PATH").expect("a path")
}

#[test]
fn a_file_that_is_no_gateway_is_refused_at_once() {
    let directory = TempDir::new().expect("a directory");
    let file = |name: &str, text: &str, mode: u32| {
        let path = directory.path().join(name);
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("its mode");
        path
    };
    let other = "#!/bin/sh\necho something else 1.0\n";
    for (gateway, said) in [
        (directory.path().join("absent"), "there is no such file"),
        (directory.path().to_owned(), "there is no such file"),
        (file("data", other, 0o644), "the file is not executable"),
        (file("other", other, 0o755), "the file is no kms-gateway"),
        (
            file("broken", "\u{7f}ELF", 0o755),
            "the file is no kms-gateway",
        ),
    ] {
        let ended = demo(&gateway, &own_path());
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert_eq!(ended.stdout, "", "nothing was begun: {ended:?}");
        let line = format!("demo: --gateway {}: {said}", gateway.display());
        assert!(ended.stderr.starts_with(&line), "{ended:?}");
        assert!(ended.stderr.contains("leave --gateway out"), "{ended:?}");
    }
}

#[test]
fn a_gateway_that_is_there_needs_no_compiler() {
    let directory = TempDir::new().expect("a directory");
    // No compiler is installed, and nothing can be.
    let absent = r#"case $* in *gcc | *libc6-dev) exit 1 ;; esac"#;
    shim(directory.path(), "dpkg-query", absent);
    shim(directory.path(), "apt-get", "exit 1");
    shim(directory.path(), "gcc", "exit 1");
    let path = shim(directory.path(), "cargo", "exit 1");
    let ended = demo(Path::new(env!("CARGO_BIN_EXE_kms-gateway")), &path);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        ended.stdout.contains("Equal: the key that was sent"),
        "{ended:?}"
    );
    assert!(!ended.stdout.contains("install"), "{ended:?}");
}
