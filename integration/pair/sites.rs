//! Two sites on one database: each a Postfix with its gateway beside it, as the two MX hosts of a
//! domain have them.

use std::{fs, path::PathBuf};

use crate::harness::{Gateway, Layout, Mail, Site};

/// Names of the gateways.
pub const NODES: [&str; 2] = ["mx1", "mx2"];

/// Sites that are laid out and not yet started: time to change their settings.
pub struct Layouts(pub [Layout; 2]);

impl Layouts {
    /// Both on the database of these settings, with the same secret and keys.
    pub fn on(postgresql: &toml::Table) -> Self {
        let layouts = Self([Layout::without_keys(), Layout::without_keys()]);
        layouts.set("store", "postgresql", postgresql.clone());
        for (layout, node) in layouts.0.iter().zip(NODES) {
            layout.set_gateway("gateway", "node", node);
        }
        let [first, second] = &layouts.0;
        first.make_keys("P-384");
        fs::copy(secret(first), secret(second)).expect("the master secret");
        layouts
    }

    /// The same with short waits: what was leased by a process that is dead must not be waited for.
    pub fn impatient(postgresql: &toml::Table) -> Self {
        let layouts = Self::on(postgresql);
        for (key, time) in [
            ("lease", "2s"),
            ("first_retry", "1s"),
            ("longest_retry", "2s"),
        ] {
            layouts.set("worker", key, time);
        }
        // A flood of one vendor's is not what is tested.
        layouts.set("throttle", "at_once", 100_000);
        layouts.set("throttle", "block_above", 200_000);
        layouts.set("throttle", "newcomers_at_once", 100_000);
        layouts
    }

    /// Sets a key of both configurations.
    pub fn set(&self, table: &str, key: &str, value: impl Into<toml::Value> + Clone) {
        for layout in &self.0 {
            layout.set_gateway(table, key, value.clone());
        }
    }

    /// Starts both.
    pub fn start(self) -> Pair {
        Pair(self.0.map(Layout::start))
    }
}

fn secret(layout: &Layout) -> PathBuf {
    layout.directory().join("gateway/master.secret")
}

/// Both sites, running.
pub struct Pair(pub [Site; 2]);

impl Pair {
    /// Any command that only needs the database.
    pub fn command(&self, arguments: &[&str]) -> String {
        self.0[0].layout.gateway(arguments)
    }

    /// Takes the gateways out, for a test that ends them.
    pub fn take_gateways(&mut self) -> [Gateway; 2] {
        self.allow_trouble();
        self.0
            .each_mut()
            .map(|site| site.gateway.take().expect("it runs"))
    }

    /// Puts gateways in their places again, in order.
    pub fn put_gateways(&mut self, gateways: Vec<Gateway>) {
        for (site, gateway) in self.0.iter_mut().zip(gateways) {
            site.gateway = Some(gateway);
        }
    }

    /// Postfix may complain of its gateway.
    pub fn allow_trouble(&mut self) {
        for site in &mut self.0 {
            site.gateway_dies = true;
        }
    }

    pub fn gateway(&self, number: usize) -> &Gateway {
        self.0[number].gateway.as_ref().expect("it runs")
    }

    /// Everything that was delivered to `person`, by either Postfix.
    pub fn mails(&self, person: &str) -> Vec<Mail> {
        let of_site = |site: &Site| site.mailbox(person).mails();
        self.0.iter().flat_map(of_site).collect()
    }

    /// Has both Postfixes offer what waits until nothing is left.
    pub fn deliver_all(&self) {
        for site in &self.0 {
            site.postfix.deliver_all();
        }
    }
}
