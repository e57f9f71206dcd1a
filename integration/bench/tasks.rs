//! Many tasks that wait for the same thing at the same time, as the milter's sessions do.

use std::{
    future::Future,
    sync::{Arc, Mutex},
    time::Instant,
};

use tokio::task::JoinSet;

use super::arena::per_second;

/// How many items a second so many tasks work off. Each task takes one after the other.
pub async fn rate<T, W, F>(tasks: usize, items: Vec<T>, work: W) -> f64
where
    T: Send + 'static,
    W: Fn(T) -> F + Clone + Send + 'static,
    F: Future<Output = ()> + Send,
{
    let count = items.len();
    let items = Arc::new(Mutex::new(items.into_iter()));
    let started = Instant::now();
    let mut working = JoinSet::new();
    for _ in 0..tasks {
        let (items, work) = (items.clone(), work.clone());
        working.spawn(async move {
            loop {
                let next = items.lock().expect("no task panicked").next();
                let Some(item) = next else {
                    break;
                };
                work(item).await;
            }
        });
    }
    working.join_all().await;
    per_second(count, started.elapsed())
}
