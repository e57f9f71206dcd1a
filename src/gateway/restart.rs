//! The keys that a running gateway can't change: a reload keeps their values and
//! reports them.

use crate::config::Config;

macro_rules! keep {
    ($running:ident, $new:ident, $names:ident: $($(#[$condition:meta])? $table:ident . $key:ident,)*) => {$(
        $(#[$condition])?
        {
            if $new.$table.$key != $running.$table.$key {
                $new.$table.$key = $running.$table.$key.clone();
                $names.push(concat!(stringify!($table), ".", stringify!($key)));
            }
        }
    )*};
}

/// Puts the running gateway's value of each fixed key into `new`, so that no part of
/// the gateway works by another value. Returns the keys whose new values wait for
/// the next start.
///
/// A test tries every key: each is either listed here or takes effect at a reload.
pub(super) fn keep_fixed(running: &Config, new: &mut Config) -> Vec<&'static str> {
    let mut names = Vec::new();
    keep! { running, new, names:
        gateway.node,
        milter.listen,
        milter.max_connections,
        milter.max_memory,
        store.path,
        store.postgresql,
        store.max_requests,
        store.max_bytes,
        store.min_free_bytes,
        store.strangers_percent,
        store.newcomers_percent,
        store.network_percent,
        #[cfg(feature = "test-faults")] store.synchronous_off,
        secrets.master_secret_file,
        secrets.master_secret_credential,
        secrets.master_secret_environment,
        kms.socket,
        kms.connect_timeout,
        kms.request_timeout,
        kms.answer_timeout,
        kms.acceptance_timeout,
        kmc.warn_before_expiry,
        module_update.stsa_keys,
        key_load_file.max_age,
        key_load_file.max_ahead,
        key_load_file.max_issues,
        key_load_file.max_issues_within,
        worker.parallel_requests,
        worker.parallel_deliveries,
        worker.lease,
        worker.first_retry,
        worker.longest_retry,
        worker.give_up,
        worker.notice_after,
        log.level,
        log.format,
        metrics.listen,
    }
    // Follows from gateway.node.
    new.store.node.clone_from(&running.store.node);
    names
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use std::path::Path;

    use toml::{Table, Value};

    use super::*;
    use crate::gateway::live::Reloadable;

    /// Has the values without which some other keys have no effect.
    const BASE: &str = "
        gateway.addresses = [\"gateway@kms.example.org\"]
        dnsbl.zones = [\"bl.example\"]
        sender_authentication.authserv_ids = [\"mx.example.org\"]
        ";

    /// Keys that only permit a value of another key.
    const PERMISSIONS: [&str; 1] = ["audit.keep_less_than_30_days"];

    /// A key of the STSA: the generator of P-384.
    const STSA_KEY: &str = "
        public_key = \"04\
            AA87CA22BE8B05378EB1C71EF320AD746E1D3B628BA79B9859F741E082542A38\
            5502F25DBF55296C3A545E3872760AB73617DE4A96262C6F5D9E98BF9292DC29\
            F8F41DBD289A147CE9DA3113B5F0B8C00A60B1CE1D7E819D7A431D7C90EA0E5F\"
        valid_from = \"20260101T000000Z\"
        valid_until = \"20270101T000000Z\"
        ";

    fn parse(table: &Table) -> Result<Config, String> {
        Config::parse(Path::new("gateway.toml"), &table.to_string())
            .map_err(|error| error.to_string())
    }

    fn base() -> Table {
        BASE.parse().unwrap()
    }

    /// The names that are allowed there, taken from the parser's error.
    fn expected(table: &Table) -> Vec<String> {
        let error = parse(table).unwrap_err();
        let (_, list) = error.split_once("expected").unwrap();
        let (list, _) = list.split_once(';').unwrap();
        let names = list.split('`').skip(1).step_by(2);
        names.map(str::to_owned).collect()
    }

    /// Every key of every table that `serve` reads.
    fn keys() -> Vec<(String, String)> {
        let unknown = Value::Table(Table::new());
        let mut top = base();
        top.insert("unknown".to_owned(), unknown.clone());
        let mut keys = Vec::new();
        for table in expected(&top) {
            let mut config = base();
            let own = config.entry(&table).or_insert(unknown.clone());
            own.as_table_mut()
                .unwrap()
                .insert("unknown".to_owned(), unknown.clone());
            let of_table = expected(&config).into_iter();
            keys.extend(of_table.map(|key| (table.clone(), key)));
        }
        keys
    }

    /// The configuration with another value of this key.
    fn changed(table: &str, key: &str) -> Config {
        let unchanged = format!("{:?}", parse(&base()).unwrap());
        let texts = [
            "40d",
            "+",
            "robot@kms.example.org",
            "17min",
            "7s",
            "inet:127.0.0.1:9999",
            "127.0.0.1:99",
            "/elsewhere",
            "json",
            "debug",
        ];
        let lists = ["other@kms.example.org", "192.0.2.0/24", "other.example"];
        let values = texts
            .map(Value::from)
            .into_iter()
            .chain([true, false].map(Value::from))
            .chain([3, 777, 777_777, 777_777_777].map(Value::from))
            .chain(lists.map(|text| Value::from(vec![text])))
            .chain([Value::from(vec![STSA_KEY.parse::<Table>().unwrap()])])
            .chain([Value::from(Table::new())]);
        let mut configs = values.filter_map(|value| {
            let mut config = base();
            let own = config.entry(table).or_insert(Value::Table(Table::new()));
            own.as_table_mut().unwrap().insert(key.to_owned(), value);
            parse(&config)
                .ok()
                .filter(|config| format!("{config:?}") != unchanged)
        });
        let found = configs.next();
        assert!(found.is_some(), "no other value for {table}.{key}");
        found.unwrap()
    }

    fn effect(config: &Config) -> String {
        format!("{:?}", Reloadable::new(config))
    }

    #[test]
    fn every_key_takes_effect_at_once_or_is_named() {
        let running = parse(&base()).unwrap();
        let keys = keys();
        assert!(keys.len() > 40, "{keys:?}");
        let mut fixed = 0;
        for (table, key) in &keys {
            let name = format!("{table}.{key}");
            let mut new = changed(table, key);
            let named = keep_fixed(&running, &mut new);
            let has_effect = effect(&new) != effect(&running);
            if PERMISSIONS.contains(&name.as_str()) {
                continue;
            }
            if named.is_empty() {
                assert!(has_effect, "{name} changes nothing and is not named");
            } else {
                assert_eq!(named, [name.as_str()]);
                assert!(!has_effect, "{name} is named and changes something");
                fixed += 1;
            }
        }
        println!("{} keys, {fixed} of them fixed at start", keys.len());
    }

    #[test]
    fn what_is_fixed_stays_what_it_is() {
        let running = parse(&base()).unwrap();
        for (table, key) in keys() {
            let mut new = changed(&table, &key);
            if !keep_fixed(&running, &mut new).is_empty() {
                assert_eq!(format!("{new:?}"), format!("{running:?}"), "{table}.{key}");
            }
        }
    }
}
