//! The tasks of the gateway. It ends when one of them does, and its end takes a
//! limited time.

use std::{fmt, future::Future, time::Duration};

use futures_util::future::select_all;
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout_at},
};

/// Running tasks with their names.
#[derive(Default)]
pub(super) struct Tasks {
    running: Vec<(&'static str, JoinHandle<Result<(), String>>)>,
}

/// A task that ended, with the error if it failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) name: &'static str,
    pub(super) result: Result<(), String>,
}

impl Tasks {
    pub(super) fn start<E: fmt::Display>(
        &mut self,
        name: &'static str,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let task = async { task.await.map_err(|error| error.to_string()) };
        self.running.push((name, tokio::spawn(task)));
    }

    /// Waits for the next task to end, for whatever reason. Returns none if no task
    /// is left.
    pub(super) async fn next_to_end(&mut self) -> Option<Ended> {
        if self.running.is_empty() {
            return None;
        }
        let handles = self.running.iter_mut().map(|(_, handle)| handle);
        let (result, place, _) = select_all(handles).await;
        let (name, _) = self.running.swap_remove(place);
        let result = result.unwrap_or_else(|failed| Err(failed.to_string()));
        Some(Ended { name, result })
    }

    /// Waits until all tasks have ended, or for the deadline. The caller has asked
    /// them to end before. Returns the names of those that are left.
    pub(super) async fn all_end(&mut self, deadline: Instant) -> Vec<&'static str> {
        while let Ok(Some(ended)) = timeout_at(deadline, self.next_to_end()).await {
            if let Err(error) = ended.result {
                tracing::error!(task = ended.name, error, "ended badly");
            }
        }
        self.running.iter().map(|(name, _)| *name).collect()
    }
}

/// Waits for `task`, for at most `limit`. Returns whether it was done.
pub(super) async fn in_time(limit: Duration, task: impl Future<Output = ()>) -> bool {
    timeout_at(Instant::now() + limit, task).await.is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]

    use std::future::pending;

    use super::*;

    fn with(
        name: &'static str,
        task: impl Future<Output = Result<(), String>> + Send + 'static,
    ) -> Tasks {
        let mut tasks = Tasks::default();
        tasks.start("first", pending::<Result<(), String>>());
        tasks.start(name, task);
        tasks.start("last", pending::<Result<(), String>>());
        tasks
    }

    #[tokio::test]
    async fn who_panics_fails_or_just_ends_is_noticed() {
        let panicked = with("worker", async { panic!("a fault") })
            .next_to_end()
            .await;
        assert!(
            matches!(&panicked, Some(Ended { name: "worker", result: Err(text) }) if text.contains("panicked")),
            "{panicked:?}"
        );

        let failed = with("milter", async { Err("no".to_owned()) })
            .next_to_end()
            .await;
        let result = Err("no".to_owned());
        assert_eq!(
            failed,
            Some(Ended {
                name: "milter",
                result
            })
        );

        let ended = with("upkeep", async { Ok(()) }).next_to_end().await;
        assert_eq!(
            ended,
            Some(Ended {
                name: "upkeep",
                result: Ok(())
            })
        );
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_waited_for_longer_than_told() {
        let begin = Instant::now();
        let limit = Duration::from_secs(30);
        let mut tasks = with("worker", async { panic!("a fault") });
        assert_eq!(tasks.all_end(begin + limit).await, ["first", "last"]);
        assert_eq!(begin.elapsed(), limit);
        assert!(!in_time(limit, pending()).await);
        assert!(in_time(limit, async {}).await);
    }

    #[tokio::test]
    async fn without_tasks_there_is_nothing_to_wait_for() {
        assert_eq!(Tasks::default().next_to_end().await, None);
    }
}
