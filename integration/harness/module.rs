//! Security modules: the gateway's own in software, and one that shares no
//! code with it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{Layout, gateway::kms_gateway, python, run, words};

/// A vending key as a module shows it after it opened a key load file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpenedKey {
    pub sgc: String,
    pub krn: String,
    pub kcv: String,
}

impl OpenedKey {
    /// Reads `000439 1 1A2B3C`, as Python shows it.
    pub fn in_words(line: &str) -> Self {
        match line.split(' ').collect::<Vec<_>>()[..] {
            [sgc, krn, kcv] => Self {
                sgc: sgc.to_owned(),
                krn: krn.to_owned(),
                kcv: kcv.to_owned(),
            },
            _ => panic!("not SGC, KRN and KCV: {line:?}"),
        }
    }
}

/// Registers a module at the site's KMC, with the supply group of its vending keys.
fn register(layout: &Layout, registration: &str) {
    layout.gateway(&words(&format!(
        "module add --registration {registration} --sgc 000439"
    )));
}

/// The two things that a vendor does with a module.
pub trait Module {
    /// A fresh VKLOAD.REQ.1 for an e-mail, made for the PK.ECDH.1 in this text.
    fn request(&self, public_key: &str) -> String;

    /// The keys of a key load file, which must open.
    fn open(&self, key_load_file: &[u8]) -> Vec<OpenedKey>;
}

/// `kms-gateway sm`, registered at the site's KMC.
pub struct SoftwareModule {
    config: PathBuf,
    state: String,
}

impl SoftwareModule {
    pub fn new(layout: &Layout, name: &str) -> Self {
        let module = Self::unregistered(layout, name);
        register(layout, &path(layout, &format!("{name}-registration.json")));
        module
    }

    /// One that the site's KMC doesn't know; its registration lies beside it.
    pub fn unregistered(layout: &Layout, name: &str) -> Self {
        let file = |suffix: &str| path(layout, &format!("{name}{suffix}.json"));
        let (state, registration) = (file(""), file("-registration"));
        layout.gateway(&words(&format!(
            "sm init --state {state} --registration {registration} \
             --issuer Example --name {name} --hardware SOFT-1 --firmware 1.0"
        )));
        Self {
            config: layout.config(),
            state,
        }
    }

    /// The file with the module's secrets.
    pub fn state(&self) -> &Path {
        Path::new(&self.state)
    }

    /// The registration file, which a KMC reads.
    pub fn registration(&self) -> String {
        self.state.replace(".json", "-registration.json")
    }
}

impl Module for SoftwareModule {
    fn request(&self, public_key: &str) -> String {
        let arguments = ["sm", "request", "--state", &self.state, "--public-key", "-"];
        run(
            &mut kms_gateway(&self.config, &arguments),
            public_key.as_bytes(),
        )
    }

    fn open(&self, key_load_file: &[u8]) -> Vec<OpenedKey> {
        let shown = run(
            &mut kms_gateway(&self.config, &["sm", "open", "--state", &self.state, "-"]),
            key_load_file,
        );
        shown.lines().map(labelled_key).collect()
    }
}

/// Reads `SGC 000439  KRN 1  …  KCV 1A2B3C`, as `sm open` and `vending-key list` print it.
pub fn labelled_key(line: &str) -> OpenedKey {
    let words: Vec<&str> = line.split_whitespace().collect();
    let after = |label: &str| {
        let position = words.iter().position(|word| *word == label);
        words[position.unwrap_or_else(|| panic!("no {label} in {line:?}")) + 1].to_owned()
    };
    OpenedKey {
        sgc: after("SGC"),
        krn: after("KRN"),
        kcv: after("KCV"),
    }
}

/// `independent_module.py`, registered at the site's KMC.
pub struct IndependentModule {
    state: String,
}

impl IndependentModule {
    pub fn new(layout: &Layout, name: &str) -> Self {
        let (module, registration) = Self::with_registration(layout, name);
        register(layout, &registration);
        module
    }

    /// One that the site's KMC doesn't know, and the file that registers it.
    pub fn with_registration(layout: &Layout, name: &str) -> (Self, String) {
        let registration = path(layout, &format!("{name}-registration.json"));
        let (module, shown) = Self::made(layout, name);
        let value = |label: &str| {
            let line = shown.lines().find_map(|line| line.strip_prefix(label));
            line.unwrap_or_else(|| panic!("no {label} in {shown:?}"))
                .trim()
                .to_owned()
        };
        let text = serde_json::json!({
            "smid": value("SMID"), "hardware": value("HARDWARE"), "dak": value("DAK"),
        });
        fs::write(&registration, text.to_string()).expect("the registration");
        (module, registration)
    }

    /// One that the site's KMC doesn't know.
    pub fn unregistered(layout: &Layout, name: &str) -> Self {
        Self::made(layout, name).0
    }

    /// One, and what the KMC registers of it.
    fn made(layout: &Layout, name: &str) -> (Self, String) {
        let state = path(layout, &format!("{name}.json"));
        let shown = run(
            &mut independent_module(&["init", &state, "--name", name]),
            b"",
        );
        (Self { state }, shown)
    }

    /// The file with the module's secrets.
    pub fn state(&self) -> &Path {
        Path::new(&self.state)
    }

    /// A request that says it was made at `time`.
    pub fn request_at(&self, public_key: &str, time: &str) -> String {
        run(
            &mut independent_module(&["request", &self.state, "-", "--time", time]),
            public_key.as_bytes(),
        )
    }
}

impl Module for IndependentModule {
    fn request(&self, public_key: &str) -> String {
        run(
            &mut independent_module(&["request", &self.state, "-"]),
            public_key.as_bytes(),
        )
    }

    fn open(&self, key_load_file: &[u8]) -> Vec<OpenedKey> {
        let shown = run(
            &mut independent_module(&["open", &self.state, "-"]),
            key_load_file,
        );
        shown.lines().map(OpenedKey::in_words).collect()
    }
}

fn independent_module(arguments: &[&str]) -> Command {
    let mut command = python("harness/independent_module.py");
    command.args(arguments);
    command
}

fn path(layout: &Layout, name: &str) -> String {
    layout
        .directory()
        .join("gateway")
        .join(name)
        .to_str()
        .expect("a path in UTF-8")
        .to_owned()
}
