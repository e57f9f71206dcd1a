//! The gateway's name among those of one database: the place where `gateway.node` takes effect.

use super::{Config, NodeName};

impl Config {
    /// Gives the store the gateway's name. Audit entries, leases and port troubles have it.
    pub(super) fn name_node(&mut self) {
        let name = self.gateway.node.clone();
        self.store.node = name.unwrap_or_else(NodeName::of_host).to_string();
    }

    /// The name that each log line and each metric has. None for a site with one gateway that
    /// wrote no name: its log and metrics stay as they are, for the programs that read them.
    pub(crate) fn shown_node(&self) -> Option<&str> {
        let may_be_one_of_several = self.gateway.node.is_some() || self.store.postgresql.is_some();
        may_be_one_of_several.then_some(self.store.node.as_str())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use super::*;

    fn config(rest: &str) -> Result<Config, String> {
        let text = format!("gateway.addresses = [\"kms@example.org\"]\n{rest}\n");
        Config::parse(Path::new("gateway.toml"), &text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_written_name_is_the_store_s_and_is_shown() {
        let config = config("gateway.node = \"mx-1.example_org\"").unwrap();
        assert_eq!(config.store.node, "mx-1.example_org");
        assert_eq!(config.shown_node(), Some("mx-1.example_org"));
    }

    #[test]
    fn without_one_the_host_s_counts_and_is_shown_where_there_may_be_several() {
        let alone = config("").unwrap();
        assert_eq!(alone.store.node, NodeName::of_host().to_string());
        assert_eq!(alone.shown_node(), None);
        let shared = config("store.postgresql.hosts = [\"/run/postgresql\"]").unwrap();
        assert_eq!(shared.shown_node(), Some(shared.store.node.as_str()));
    }

    #[test]
    fn the_host_s_name_is_a_name() {
        let name = NodeName::of_host();
        assert_eq!(name.to_string().parse(), Ok(name));
    }

    #[test]
    fn a_name_is_one_plain_word() {
        let longest = "a".repeat(NodeName::LONGEST);
        assert!(longest.parse::<NodeName>().is_ok());
        let too_long = format!("{longest}a");
        for text in ["", "mx 1", "mx1\n", "mx=1", "mx\"1", "möx", &too_long] {
            assert!(text.parse::<NodeName>().is_err(), "{text}");
        }
        let error = config("gateway.node = \"mx 1\"").unwrap_err();
        assert!(error.contains("gateway.node"), "{error}");
        assert!(error.contains("hyphens"), "{error}");
    }
}
