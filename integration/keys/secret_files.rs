//! The files that a change of the master secret touches, and everything that a secret
//! opens in them.

use std::{collections::BTreeMap, fs, path::PathBuf, process::Command, sync::Arc};

use kms_gateway::{
    audit::ChainKey,
    kms::KmsTables,
    secrets::{MasterSecret, StorageKey},
    store::{Store, StoreSettings},
};

use crate::harness::{Layout, kms_gateway, run};

/// The files of a site's gateway.
pub struct Files {
    pub layout: Layout,
}

impl Files {
    pub fn new() -> Self {
        Self {
            layout: Layout::new(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.layout.directory().join("gateway").join(name)
    }

    pub fn database(&self) -> PathBuf {
        self.path("gateway.sqlite3")
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name)
            .to_str()
            .expect("a path in UTF-8")
            .to_owned()
    }

    /// `secret rewrap` with the file `new.secret`, made if it isn't there.
    pub fn rewrap(&self, options: &[&str]) -> Command {
        let new = self.text("new.secret");
        let common = ["secret", "rewrap", "--new-file", &new, "--create"];
        kms_gateway(&self.layout.config(), &[&common, options].concat())
    }

    /// Has the gateway use the new secret, as the command says.
    pub fn put_in_place(&self) {
        fs::rename(self.path("new.secret"), self.path("master.secret")).expect("a new secret");
    }

    pub fn sqlite3(&self, statements: &str) -> String {
        run(
            Command::new("sqlite3").arg(self.database()).arg(statements),
            b"",
        )
    }

    /// The wrapped storage key and every sealed secret, in hex.
    pub fn sealed(&self) -> Vec<String> {
        let shown = self.sqlite3(
            "SELECT hex(wrapped) FROM storage_key;
             SELECT hex(sealed_private_key) FROM kmc_keys;
             SELECT hex(sealed_dak) FROM modules; SELECT hex(sealed_key) FROM vending_keys",
        );
        shown.lines().map(str::to_owned).collect()
    }

    /// How many of these are in the database file or its write-ahead log.
    pub fn left_of(&self, sealed: &[String]) -> usize {
        let content: Vec<u8> = ["", "-wal"]
            .iter()
            .filter_map(|suffix| fs::read(format!("{}{suffix}", self.database().display())).ok())
            .flatten()
            .collect();
        let is_in = |text: &&String| {
            let bytes = hex::decode(text).expect("hex");
            content
                .windows(bytes.len())
                .any(|window| window == bytes.as_slice())
        };
        sealed.iter().filter(is_in).count()
    }

    /// Every secret in the tables, opened by the master secret in this file;
    /// none if it is another's.
    pub fn opened(&self, secret: &str) -> Option<BTreeMap<String, Vec<u8>>> {
        with_store(self, secret, async |store, storage_key| {
            let mut secrets = BTreeMap::new();
            for row in store.kmc_keys().await.expect("rows") {
                let key = row.open(storage_key).expect("it opens").to_scalar();
                secrets.insert(row.kmcid.to_string(), key.expose().to_vec());
            }
            for row in store.modules().await.expect("rows") {
                let dak = row.open(storage_key).expect("it opens");
                secrets.insert(row.smid.to_string(), dak.expose().to_vec());
            }
            for row in store.vending_keys().await.expect("rows") {
                let key = row.open(storage_key).expect("it opens");
                let name = format!("{} {}", row.attributes.sgc, row.attributes.krn);
                secrets.insert(name, key.expose().to_vec());
            }
            secrets
        })
    }
}

/// Does something with the store and the storage key, if this secret opens
/// them: both the rows' key and the audit log's.
pub fn with_store<T>(
    files: &Files,
    secret: &str,
    act: impl AsyncFnOnce(&Arc<Store>, &StorageKey) -> T,
) -> Option<T> {
    let master = MasterSecret::from_file(&files.path(secret)).expect("a master secret");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let chain_key = ChainKey::new(master.derive("audit-chain").expose());
        let settings = StoreSettings::new(files.database());
        let store = Store::open(&settings, Some(chain_key)).await.ok()?;
        let opened = StorageKey::open_or_create(store.as_ref(), &master).await;
        let done = match &opened {
            Ok(storage_key) => Some(act(&store, storage_key).await),
            Err(_) => None,
        };
        store.close().await;
        done
    })
}
