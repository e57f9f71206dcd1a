//! Milter sessions for other people's mail, spoken directly as Postfix speaks
//! them.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use tokio::{runtime::Runtime, task::JoinSet};

use super::{
    arena::{Arena, SINK, per_second, port},
    conversation::Conversation,
    figures::{Case, Limit, Table},
    harness::Usage,
    plan::Plan,
    report::{Bound, Section},
    requests::{TICK, quantile},
};

const RATE: &str = "sessions/s";
const HALF: &str = "p50, ms";
const MOST: &str = "p99, ms";
const CPU: &str = "CPU, µs each";
const FLOOR: &str = "floor";
const AGAIN: &str = "floor again";
const GATEWAY: &str = "gateway";

pub fn measure(arena: &mut Arena, plan: &Plan) -> Section {
    let layout = &arena.site.layout;
    let gateway = arena.site.gateway.as_ref().expect("it runs").id();
    let milters = [
        (FLOOR, port::FLOOR_MILTER, arena.peers.floor.id()),
        (GATEWAY, port::GATEWAY_MILTER, gateway),
        (
            AGAIN,
            port::FLOOR_MILTER_AGAIN,
            arena.peers.floor_again.id(),
        ),
    ];
    let runtime = Runtime::new().expect("a runtime");
    let mut cases = Vec::new();
    for &parallel in plan.parallel_sessions {
        for (name, port, process) in milters {
            let milter = layout.port(port);
            let runtime = &runtime;
            cases.push(Case::new(at_once(name, parallel), move || {
                let before = Usage(process).cpu();
                let mut figures = runtime.block_on(speak(milter, parallel, plan.sessions));
                let ticks = Usage(process).cpu() - before;
                figures.push(ticks as f64 * TICK * 1e3 / plan.sessions as f64);
                figures
            }));
        }
    }
    let table = Table::interleaved(&[RATE, HALF, MOST, CPU], plan.rounds, cases);
    let bounds = bounds(&table, plan);
    Section {
        title: "Milter sessions",
        method: format!(
            "{} sessions a round, each a connection of its own with one message for {SINK}, \
             as Postfix speaks them: from connect to the answer to DATA.",
            plan.sessions
        ),
        table,
        bounds,
    }
}

fn at_once(name: &str, parallel: usize) -> String {
    format!("{name}, {parallel} at once")
}

fn bounds(table: &Table, plan: &Plan) -> Vec<Bound> {
    let mut bounds = Vec::new();
    for &parallel in plan.parallel_sessions.iter().filter(|&&count| count <= 100) {
        let [floor, gateway, again] = [FLOOR, GATEWAY, AGAIN].map(|name| at_once(name, parallel));
        for figure in [HALF, MOST, CPU] {
            bounds.push(Bound {
                what: format!("{gateway} / floor: {figure}"),
                limit: Limit::AtMost(1.1),
                found: table.ratio(&gateway, &floor, figure),
                itself: Some(table.ratio(&again, &floor, figure)),
            });
        }
    }
    bounds
}

/// So many sessions, so many of them at once: their rate, and p50 and p99 of
/// the time that one takes.
async fn speak(milter: SocketAddr, parallel: usize, sessions: usize) -> Vec<f64> {
    let begun = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let mut speakers = JoinSet::new();
    for _ in 0..parallel {
        let begun = begun.clone();
        speakers.spawn(async move {
            let mut times = Vec::new();
            while begun.fetch_add(1, Ordering::Relaxed) < sessions {
                let started = Instant::now();
                session(milter).await.expect("a session");
                times.push(started.elapsed().as_secs_f64() * 1e3);
            }
            times
        });
    }
    let times: Vec<f64> = speakers.join_all().await.into_iter().flatten().collect();
    let rate = per_second(times.len(), started.elapsed());
    vec![rate, quantile(&times, 0.5), quantile(&times, 0.99)]
}

/// A message for somebody else.
pub async fn session(milter: SocketAddr) -> io::Result<()> {
    let mut conversation = Conversation::open(milter).await?;
    conversation.introduce().await?;
    conversation.recipient(SINK).await?;
    conversation.say('T', b"");
    assert_eq!(conversation.hear().await?, b'a', "not accepted at DATA");
    conversation.say('Q', b"");
    conversation.flush().await
}
