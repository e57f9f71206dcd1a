//! The tables that a copy of the store has, in an order that foreign keys allow.

use self::Rows::{Large, OfMachine, Plain, Started};

/// A table that is copied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    /// The columns of its primary key, by which it is read in pages.
    pub(super) key: &'static [&'static str],
    pub(super) rows: Rows,
}

/// The rows of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rows {
    Plain,
    /// Each may hold a whole message.
    Large,
    /// A new database has one already.
    Started,
    /// Each belongs to a machine. Those of this one are copied.
    OfMachine,
}

pub(super) const TABLES: &[Table] = &[
    table("requests", &["sequence"], Plain),
    table("request_messages", &["request"], Large),
    table("request_troubles", &["request", "attempt"], Plain),
    table("identities", &["identity"], Plain),
    table("replies", &["sequence"], Large),
    table("deliveries", &["sequence"], Plain),
    table("delivery_troubles", &["delivery", "attempt"], Plain),
    table("port_troubles", &["node", "port"], Plain),
    table("spool_usage", &["id"], Started),
    table("spool_shares", &["share"], Plain),
    table("throttle", &["sequence"], Plain),
    table("reply_targets", &["sequence"], Plain),
    table("audit", &["sequence"], Plain),
    table("audit_anchor", &["id"], Plain),
    table("audit_hand_overs", &["sequence"], Plain),
    table("audit_counts", &["kind"], Plain),
    table("kms_revision", &["id"], Started),
    table("storage_key", &["id"], Plain),
    table("kmc_keys", &["kmcid"], Plain),
    table("modules", &["smid"], Plain),
    table("module_sgcs", &["smid", "sgc"], Plain),
    table("vending_keys", &["sgc", "krn"], Plain),
    table("replay_marks", &["replay_key"], Plain),
    table("klf_issues", &["sequence"], Plain),
    table("stsa_updates", &["stsa_key"], Plain),
    table("clock", &["node"], OfMachine),
    table("clock_stretches", &["node", "place"], OfMachine),
];

const fn table(name: &'static str, key: &'static [&'static str], rows: Rows) -> Table {
    Table { name, key, rows }
}

impl Table {
    /// Whether its rows are numbered as they come.
    pub(super) fn is_numbered(&self) -> bool {
        self.key == ["sequence"]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;

    use super::*;
    use crate::store::testing::TestStore;

    /// The schema's version and the gateways that use a database belong to the database. Of
    /// `writer` the count of changed secrets is copied apart.
    const NOT_COPIED: [&str; 3] = ["nodes", "schema_version", "writer"];

    #[tokio::test]
    async fn every_table_of_the_schema_is_copied_by_its_primary_key() {
        let test = TestStore::sqlite().await;
        let rows = test.sqlite3().all(
            "SELECT own.name AS own, coalesce(string_agg(columns.name, ' ' ORDER BY columns.pk), '')
                 AS primary_key
             FROM sqlite_schema AS own
             LEFT JOIN pragma_table_info(own.name) AS columns ON columns.pk > 0
             WHERE own.type = 'table' AND own.name NOT LIKE 'sqlite_%'
             GROUP BY own.name",
            &[],
        );
        let mut schema = BTreeMap::new();
        for row in rows.unwrap() {
            let name: String = row.get("own").unwrap();
            schema.insert(name, row.get::<String>("primary_key").unwrap());
        }
        for name in NOT_COPIED {
            assert!(schema.remove(name).is_some(), "{name}");
        }
        let copied = TABLES.iter();
        let copied = copied.map(|table| (table.name.to_owned(), table.key.join(" ")));
        assert_eq!(copied.collect::<BTreeMap<_, _>>(), schema);
    }

    #[tokio::test]
    async fn a_table_comes_after_those_that_its_rows_name() {
        let test = TestStore::sqlite().await;
        let place = |name: &str| TABLES.iter().position(|table| table.name == name).unwrap();
        let mut names = 0;
        for table in TABLES {
            let parents = test.sqlite3().all(
                "SELECT \"table\" AS parent FROM pragma_foreign_key_list($1)",
                &[&table.name],
            );
            for parent in parents.unwrap() {
                let parent: String = parent.get("parent").unwrap();
                assert!(place(&parent) < place(table.name), "{}", table.name);
                names += 1;
            }
        }
        assert!(names > 5, "{names} references");
    }
}
