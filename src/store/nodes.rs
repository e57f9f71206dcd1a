//! The gateways of one database. Each notes itself under its name, and finds the others.

use jiff::{SignedDuration, Timestamp};

use super::database::{Changes, Connection, DatabaseError, Failure, Row, Store, StoreError};

/// Time after which a gateway that said nothing is forgotten.
const FORGOTTEN_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// A gateway, as it notes itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) name: String,
    /// Version of its program.
    pub(crate) version: String,
    /// Digest of its policy.
    pub(crate) policy: String,
    /// How far its machine's clock is ahead of the database's.
    pub(crate) ahead: SignedDuration,
    pub(crate) process: NodeProcess,
}

/// The process that has the name of a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeProcess {
    /// Random: no other process has it.
    pub(crate) id: [u8; 16],
    /// Its number on its machine.
    pub(crate) pid: u32,
    /// Its machine, empty if that has no identity.
    pub(crate) machine: String,
}

/// A gateway, as the others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SeenNode {
    pub(crate) node: Node,
    /// When it noted itself, by the database's clock.
    pub(crate) seen_at: Timestamp,
    /// Time since then.
    pub(crate) silence: SignedDuration,
}

impl Store {
    /// Whether several gateways may use the database.
    pub(crate) fn is_shared(&self) -> bool {
        self.settings().postgresql.is_some()
    }

    /// Notes a gateway under its name. False if another process has the name, unless that is
    /// `former`.
    pub(crate) async fn note_node(
        &self,
        node: Node,
        former: Option<[u8; 16]>,
    ) -> Result<bool, StoreError> {
        self.change(move |changes| note(&node, former, changes))
            .await
    }

    /// The gateways that noted themselves within the last day, by their names.
    pub(crate) async fn nodes(&self) -> Result<Vec<SeenNode>, StoreError> {
        self.read(nodes).await
    }

    /// Frees the name of a gateway that ends, unless another process has it.
    pub(crate) async fn forget_node(&self, node: Node) -> Result<(), StoreError> {
        self.change(move |changes| forget(&node, changes)).await
    }
}

fn note(node: &Node, former: Option<[u8; 16]>, changes: &mut Changes<'_>) -> Result<bool, Failure> {
    let now = changes.connection.now()?;
    let forgotten = now.saturating_sub(FORGOTTEN_AFTER).unwrap_or(now);
    changes
        .connection
        .execute("DELETE FROM nodes WHERE seen_at < $1", &[&forgotten])?;
    let noted = changes.connection.execute(
        "INSERT INTO nodes (name, version, policy, ahead, seen_at, process, pid, machine)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (name) DO UPDATE SET version = excluded.version, policy = excluded.policy,
             ahead = excluded.ahead, seen_at = excluded.seen_at, process = excluded.process,
             pid = excluded.pid, machine = excluded.machine
         WHERE nodes.process = excluded.process OR nodes.process = $9",
        &[
            &node.name,
            &node.version,
            &node.policy,
            &node.ahead,
            &now,
            &node.process.id,
            &node.process.pid,
            &node.process.machine,
            &former,
        ],
    )?;
    Ok(noted > 0)
}

fn nodes(connection: &mut Connection) -> Result<Vec<SeenNode>, DatabaseError> {
    let now = connection.now()?;
    let rows = connection.all(
        "SELECT name, version, policy, ahead, seen_at, process, pid, machine FROM nodes
         ORDER BY name",
        &[],
    )?;
    let seen = |row: &Row| {
        let seen_at = row.get("seen_at")?;
        Ok(SeenNode {
            node: read(row)?,
            seen_at,
            silence: now.duration_since(seen_at),
        })
    };
    rows.iter().map(seen).collect()
}

fn read(row: &Row) -> Result<Node, DatabaseError> {
    Ok(Node {
        name: row.get("name")?,
        version: row.get("version")?,
        policy: row.get("policy")?,
        ahead: row.get("ahead")?,
        process: NodeProcess {
            id: row.get("process")?,
            pid: row.get("pid")?,
            machine: row.get("machine")?,
        },
    })
}

fn forget(node: &Node, changes: &mut Changes<'_>) -> Result<(), Failure> {
    changes.connection.execute(
        "DELETE FROM nodes WHERE name = $1 AND process = $2",
        &[&node.name, &node.process.id],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::store::testing::TestStore;

    fn node(name: &str, process: u8) -> Node {
        Node {
            name: name.to_owned(),
            version: "0.1.0".to_owned(),
            policy: "00ff".to_owned(),
            ahead: SignedDuration::from_millis(-7),
            process: NodeProcess {
                id: [process; 16],
                pid: 4711,
                machine: "a".to_owned(),
            },
        }
    }

    async fn note(test: &TestStore, node: Node, former: Option<u8>) -> bool {
        let former = former.map(|process| [process; 16]);
        test.store.note_node(node, former).await.unwrap()
    }

    async fn seen(test: &TestStore) -> Vec<Node> {
        let nodes = test.store.nodes().await.unwrap();
        nodes.into_iter().map(|seen| seen.node).collect()
    }

    #[tokio::test]
    async fn each_is_found_as_it_noted_itself_last() {
        let test = TestStore::new().await;
        assert!(note(&test, node("mx2", 2), None).await);
        assert!(note(&test, node("mx1", 1), None).await);
        let reloaded = Node {
            policy: "11".to_owned(),
            ..node("mx2", 2)
        };
        assert!(note(&test, reloaded.clone(), None).await);
        assert_eq!(seen(&test).await, [node("mx1", 1), reloaded]);
        let nodes = test.store.nodes().await.unwrap();
        let minute = SignedDuration::from_mins(1);
        assert!(nodes.iter().all(|seen| seen.silence < minute), "{nodes:?}");
    }

    #[tokio::test]
    async fn a_name_is_that_of_one_process() {
        let test = TestStore::new().await;
        assert!(note(&test, node("mx1", 1), None).await);
        assert!(!note(&test, node("mx1", 2), None).await);
        assert!(!note(&test, node("mx1", 2), Some(3)).await);
        assert_eq!(seen(&test).await, [node("mx1", 1)]);
        // The second takes the place of the first, which finds it so.
        assert!(note(&test, node("mx1", 2), Some(1)).await);
        assert!(!note(&test, node("mx1", 1), None).await);
        test.store.forget_node(node("mx1", 1)).await.unwrap();
        assert_eq!(seen(&test).await, [node("mx1", 2)]);
        test.store.forget_node(node("mx1", 2)).await.unwrap();
        assert_eq!(seen(&test).await, []);
    }

    #[tokio::test]
    async fn what_said_nothing_for_a_day_is_forgotten() {
        let test = TestStore::new().await;
        note(&test, node("mx1", 1), None).await;
        note(&test, node("mx2", 2), None).await;
        let hour = 3_600_000_000_i64;
        for (hours, left) in [(23, 2), (25, 1)] {
            test.execute(&format!(
                "UPDATE nodes SET seen_at = seen_at - {} WHERE name = 'mx1'",
                hours * hour
            ))
            .await;
            note(&test, node("mx2", 2), None).await;
            assert_eq!(seen(&test).await.len(), left, "{hours}");
        }
        assert!(note(&test, node("mx1", 3), None).await, "the name is free");
    }
}
