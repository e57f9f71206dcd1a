//! This gateway among those of its database. It takes its name, notes itself as long as it runs, and
//! compares itself with the others. Knows no task but its own.

use std::{sync::Arc, time::Duration};

use jiff::SignedDuration;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, sleep},
};

use super::{
    GatewayError,
    differences::{differences, running},
    node_process::{has_ended, is_elsewhere, this_process},
};
use crate::{
    measures::{DATABASE_CLOCK_AHEAD, NODES},
    store::{Node, NodeProcess, SeenNode, Store, StoreError},
};

/// Interval between two notes.
const NOTED_EVERY: Duration = Duration::from_secs(10);

/// Silence after which a process is taken for dead. It has missed two notes then.
const DEAD_AFTER: SignedDuration = SignedDuration::from_secs(30);

/// Interval between two looks at a process that may be dead.
const LOOKED_EVERY: Duration = Duration::from_secs(1);

/// Time between two log lines about a lasting difference.
const LOGGED_EVERY: Duration = Duration::from_secs(60 * 60);

/// A gateway among those of its database.
pub(super) struct Nodes {
    store: Arc<Store>,
    process: NodeProcess,
    /// Digest of the policy in force.
    policy: watch::Receiver<String>,
    /// Gets the present differences.
    differences: watch::Sender<Vec<String>>,
    is_replaced: watch::Sender<bool>,
}

/// The note of this gateway.
pub(crate) fn own_node(store: &Store, policy: &str) -> Result<Node, GatewayError> {
    Ok(node(store, policy, this_process()?))
}

fn node(store: &Store, policy: &str, process: NodeProcess) -> Node {
    Node {
        name: store.settings().node.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        policy: policy.to_owned(),
        ahead: -store.clock().ahead(),
        process,
    }
}

/// The reason why no gateway starts here: one with the same name runs elsewhere.
pub(crate) fn refusal(own: &Node, nodes: &[SeenNode], store: &Store) -> Option<String> {
    let mut elsewhere = running(nodes)
        .filter(|other| other.name == own.name && is_elsewhere(&other.process, &own.process));
    elsewhere.next().map(|other| name_is_in_use(other, store))
}

fn name_is_in_use(node: &Node, store: &Store) -> String {
    format!(
        "gateway.node: another gateway with the name {} uses the {}; give each a name of its own",
        node.name,
        store.settings().place()
    )
}

impl Nodes {
    /// Takes this gateway's name.
    ///
    /// # Errors
    /// Another gateway has the name. Or the database fails.
    pub(super) async fn join(
        store: Arc<Store>,
        policy: watch::Receiver<String>,
        differences: watch::Sender<Vec<String>>,
    ) -> Result<Self, GatewayError> {
        let nodes = Self {
            store,
            process: this_process()?,
            policy,
            differences,
            is_replaced: watch::Sender::new(false),
        };
        nodes.take_name().await?;
        Ok(nodes)
    }

    async fn take_name(&self) -> Result<(), GatewayError> {
        let mut holder = self.holder().await?;
        if let Some(seen) = holder.take_if(|seen| !self.is_gone(seen)) {
            tracing::info!("waiting: a gateway of this name ran a moment ago");
            holder = self.outlive(seen).await?;
        }
        let former = holder.map(|seen| seen.node.process.id);
        match self.store.note_node(self.own(), former).await? {
            true => Ok(()),
            false => Err(self.refused()),
        }
    }

    /// Waits until the process that has the name is gone, or has freed it.
    ///
    /// # Errors
    /// The process notes itself again.
    async fn outlive(&self, mut holder: SeenNode) -> Result<Option<SeenNode>, GatewayError> {
        while !self.is_gone(&holder) {
            sleep(LOOKED_EVERY).await;
            match self.holder().await? {
                Some(now) if now.seen_at > holder.seen_at => return Err(self.refused()),
                Some(now) => holder = now,
                None => return Ok(None),
            }
        }
        Ok(Some(holder))
    }

    /// The process that has this gateway's name.
    async fn holder(&self) -> Result<Option<SeenNode>, StoreError> {
        let nodes = self.store.nodes().await?;
        let name = &self.store.settings().node;
        Ok(nodes.into_iter().find(|seen| seen.node.name == *name))
    }

    fn is_gone(&self, seen: &SeenNode) -> bool {
        seen.silence >= DEAD_AFTER || has_ended(&seen.node.process, &self.process)
    }

    fn refused(&self) -> GatewayError {
        GatewayError::other(name_is_in_use(&self.own(), &self.store))
    }

    /// This gateway's note.
    fn own(&self) -> Node {
        node(&self.store, &self.policy.borrow(), self.process.clone())
    }

    /// Notes this gateway, and compares it with the others, until `stop` turns true.
    pub(super) async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut policy = self.policy.clone();
        let noting = async {
            let mut notes = interval(NOTED_EVERY);
            notes.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut logged = Logged::default();
            loop {
                tokio::select! {
                    _ = notes.tick() => {}
                    Ok(()) = policy.changed() => {}
                }
                self.look_around(&mut logged).await;
            }
        };
        tokio::select! {
            () = noting => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }

    async fn look_around(&self, logged: &mut Logged) {
        match self.seen_around().await {
            Ok(Some(differences)) => {
                logged.log(&differences);
                self.differences.send_replace(differences);
            }
            Ok(None) => {
                self.is_replaced.send_replace(true);
            }
            Err(error) => {
                tracing::error!(%error, "this gateway can't be noted in the database; trying again");
            }
        }
    }

    /// Returns none if another process has taken the name.
    async fn seen_around(&self) -> Result<Option<Vec<String>>, StoreError> {
        let own = self.own();
        if !self.store.note_node(own.clone(), None).await? {
            return Ok(None);
        }
        let nodes = self.store.nodes().await?;
        let ahead = self.store.clock().ahead();
        DATABASE_CLOCK_AHEAD.only().set(ahead.as_secs_f64());
        NODES.only().set(running(&nodes).count() as f64);
        Ok(Some(differences(&own, &nodes)))
    }

    /// Ends when another process has taken the name, with the error that says so.
    pub(super) async fn replaced(&self) -> GatewayError {
        // The sender lives as long as this.
        let mut is_replaced = self.is_replaced.subscribe();
        let _ = is_replaced.wait_for(|is_replaced| *is_replaced).await;
        self.refused()
    }

    /// Frees the name.
    pub(super) async fn leave(&self) {
        if let Err(error) = self.store.forget_node(self.own()).await {
            tracing::warn!(%error, "the name of this gateway stays noted; a start elsewhere waits for it");
        }
    }
}

/// The last log lines about differences.
#[derive(Default)]
struct Logged {
    texts: Vec<String>,
    at: Option<Instant>,
}

impl Logged {
    /// Logs what is new, and now and then what lasts.
    fn log(&mut self, texts: &[String]) {
        let is_due = self.at.is_none_or(|at| at.elapsed() >= LOGGED_EVERY);
        if is_due {
            self.at = Some(Instant::now());
        }
        let to_log = |text: &&String| is_due || !self.texts.contains(text);
        for text in texts.iter().filter(to_log) {
            tracing::warn!("{text}");
        }
        if texts.is_empty() && !self.texts.is_empty() {
            tracing::info!("this gateway is like the others of its database again");
        }
        self.texts = texts.to_vec();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::future::pending;

    use futures_util::FutureExt as _;

    use super::*;
    use crate::store::testing::TestStore;

    async fn test_store() -> TestStore {
        TestStore::with(|settings| settings.node = "mx1".to_owned()).await
    }

    async fn join(store: &Arc<Store>) -> Result<Nodes, GatewayError> {
        let policy = watch::Sender::new("00ff".to_owned()).subscribe();
        Nodes::join(store.clone(), policy, watch::Sender::default()).await
    }

    /// Another process than this one notes `mx1` now.
    async fn noted_elsewhere(test: &TestStore) {
        let other = Node {
            process: NodeProcess {
                id: [7; 16],
                pid: 1,
                machine: "elsewhere".to_owned(),
            },
            ..own_node(&test.store, "00ff").unwrap()
        };
        assert!(test.store.note_node(other, None).await.unwrap());
    }

    /// As if the database's clock had run on by so much.
    async fn let_pass(test: &TestStore, time: SignedDuration) {
        let microseconds = time.as_micros();
        test.execute(&format!(
            "UPDATE nodes SET seen_at = seen_at - {microseconds}"
        ))
        .await;
    }

    async fn processes(test: &TestStore) -> Vec<[u8; 16]> {
        let nodes = test.store.nodes().await.unwrap();
        nodes.iter().map(|seen| seen.node.process.id).collect()
    }

    #[tokio::test]
    async fn a_free_name_is_taken_at_once_and_freed_at_the_end() {
        let test = test_store().await;
        let nodes = join(&test.store).await.unwrap();
        assert_eq!(processes(&test).await, [nodes.process.id]);
        assert_eq!(nodes.seen_around().await.unwrap(), Some(Vec::new()));
        nodes.leave().await;
        assert_eq!(processes(&test).await, [[0; 16]; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_name_of_a_gateway_that_still_runs_is_refused() {
        let test = test_store().await;
        noted_elsewhere(&test).await;
        let runs_on = async {
            sleep(LOOKED_EVERY * 3).await;
            noted_elsewhere(&test).await;
            pending::<()>().await;
        };
        let refused = tokio::select! {
            joined = join(&test.store) => joined.err().unwrap().to_string(),
            () = runs_on => unreachable!(),
        };
        assert!(refused.starts_with("gateway.node: "), "{refused}");
        assert!(refused.contains(" mx1 "), "{refused}");
        assert_eq!(processes(&test).await, [[7; 16]]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_name_of_one_that_died_elsewhere_is_taken_when_that_is_sure() {
        let test = test_store().await;
        noted_elsewhere(&test).await;
        let_pass(&test, DEAD_AFTER - SignedDuration::from_secs(5)).await;
        let begun = Instant::now();
        let dies = async {
            sleep(LOOKED_EVERY * 3).await;
            let_pass(&test, SignedDuration::from_secs(5)).await;
            pending::<()>().await;
        };
        let joined = tokio::select! {
            joined = join(&test.store) => joined,
            () = dies => unreachable!(),
        };
        assert!(begun.elapsed() >= LOOKED_EVERY * 3);
        assert_eq!(processes(&test).await, [joined.unwrap().process.id]);
    }

    #[tokio::test]
    async fn a_gateway_whose_name_was_taken_says_so() {
        let test = test_store().await;
        let nodes = join(&test.store).await.unwrap();
        let mut logged = Logged::default();
        nodes.look_around(&mut logged).await;
        assert!(nodes.replaced().now_or_never().is_none());
        let_pass(&test, DEAD_AFTER).await;
        let next = join(&test.store).await.unwrap();
        nodes.look_around(&mut logged).await;
        let error = nodes.replaced().now_or_never().unwrap().to_string();
        assert!(error.contains("gateway.node"), "{error}");
        nodes.leave().await;
        assert_eq!(processes(&test).await, [next.process.id]);
    }

    #[tokio::test]
    async fn check_refuses_a_name_that_runs_on_another_machine() {
        let test = test_store().await;
        noted_elsewhere(&test).await;
        let nodes = test.store.nodes().await.unwrap();
        let own = |machine: &str| {
            let mut own = own_node(&test.store, "00ff").unwrap();
            own.process.machine = machine.to_owned();
            own
        };
        assert!(refusal(&own("here"), &nodes, &test.store).is_some());
        assert_eq!(refusal(&own("elsewhere"), &nodes, &test.store), None);
        assert_eq!(refusal(&own(""), &nodes, &test.store), None);
        let_pass(&test, SignedDuration::from_mins(1)).await;
        let nodes = test.store.nodes().await.unwrap();
        assert_eq!(refusal(&own("here"), &nodes, &test.store), None);
    }
}
