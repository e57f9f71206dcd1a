//! The STSA, which signs update files for security modules.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{BOB, Draft, Layout, gateway::kms_gateway, run};

/// The mailbox of the STSA.
pub const STSA: &str = BOB;

/// As 8.2 asks for it; the name does not count.
pub const DECLARED: &str = "Content-Type: text/plain; charset=us-ascii; name=update.bin\r\n\
                            Content-Disposition: attachment; filename=update.bin";

/// The STSA: its key, and the files that it makes.
pub struct Stsa {
    directory: PathBuf,
    pub public_key: String,
}

impl Stsa {
    pub fn new(layout: &Layout) -> Self {
        Self::named(layout, "stsa")
    }

    pub fn named(layout: &Layout, name: &str) -> Self {
        let directory = layout.directory().join(name);
        fs::create_dir(&directory).expect("a directory");
        fs::write(directory.join("passphrase"), "correct horse\n").expect("a passphrase");
        let mut new_key = update(&directory, &["new-key", "--out", "stsa.pem"]);
        new_key.args(["--passphrase-file", "passphrase"]);
        let shown = run(&mut new_key, b"");
        let (_, rest) = shown.split_once('"').expect("a quoted key");
        let public_key = rest.trim_end().trim_end_matches('"').to_owned();
        Self {
            directory,
            public_key,
        }
    }

    /// Has the gateway trust it.
    pub fn be_trusted(&self, layout: &Layout) {
        let mut key = toml::Table::new();
        for (name, value) in [
            ("public_key", self.public_key.as_str()),
            ("valid_from", "20260101T000000Z"),
            ("valid_until", "20990101T000000Z"),
        ] {
            key.insert(name.to_owned(), value.into());
        }
        layout.set_gateway("module_update", "stsa_keys", vec![toml::Value::Table(key)]);
        let addresses = vec![toml::Value::from(STSA)];
        layout.set_gateway("module_update", "stsa_addresses", addresses);
    }

    /// A signed file, by `update build` with these arguments and `update sign`.
    pub fn file(&self, layout: &Layout, arguments: &[&str]) -> Vec<u8> {
        let public_key = layout.gateway(&["kmc", "public-key"]);
        let mut build = update(&self.directory, &["build", "--public-key", "-"]);
        let unsigned = run(build.args(arguments), public_key.as_bytes());
        let mut sign = update(&self.directory, &["sign", "--key", "stsa.pem"]);
        sign.args(["--passphrase-file", "passphrase", "-"]);
        run(&mut sign, unsigned.as_bytes()).into_bytes()
    }

    /// A file of the STSA's own.
    pub fn path(&self, name: &str) -> String {
        let path = self.directory.join(name);
        path.to_str().expect("a path in UTF-8").to_owned()
    }
}

/// `kms-gateway update`, which needs no configuration.
fn update(directory: &Path, arguments: &[&str]) -> Command {
    let nowhere = Path::new("/nonexistent/gateway.toml");
    let mut command = kms_gateway(nowhere, &[&["update"], arguments].concat());
    command.current_dir(directory);
    command
}

/// A message with one part of text and one that is attached.
pub fn with_attachment(subject: &str, fields: &str, content: &[u8]) -> Draft {
    let encoded = base64(content);
    let body = format!(
        "--b\r\nContent-Type: text/plain\r\n\r\nRegards\r\n\
         --b\r\n{fields}\r\nContent-Transfer-Encoding: base64\r\n\r\n{encoded}\r\n--b--\r\n"
    );
    Draft::request(subject, "")
        .with("MIME-Version", "1.0")
        .with("Content-Type", "multipart/mixed; boundary=b")
        .with_body(body)
}

fn base64(content: &[u8]) -> String {
    let mut encode = Command::new("base64");
    run(encode.arg("-w76"), content).replace('\n', "\r\n")
}
