//! The memory that the gateway holds just after its start, and after much work.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{runtime::Runtime, task::JoinSet};

use super::{
    arena::{Arena, SINK, port},
    conversation::Conversation,
    figures::{Limit, Series, Table},
    harness::{GATEWAY, Gateway, Usage, until},
    plan::Plan,
    report::{Bound, Section},
    sessions,
};

const MEMORY: &str = "resident, MiB";
const PATIENCE: Duration = Duration::from_secs(300);

pub fn measure(arena: &mut Arena, plan: &Plan) -> Section {
    if let Some(gateway) = arena.site.gateway.take() {
        assert!(gateway.stop().success());
    }
    let gateway = arena.site.layout.start_gateway();
    let runtime = Runtime::new().expect("a runtime");
    let milter = arena.site.layout.port(port::GATEWAY_MILTER);
    let idle = resident(&gateway);
    let held = runtime.block_on(hold(milter, plan.connections, Depth::Recipient));
    let connected = resident(&gateway);
    drop(held);
    let held = runtime.block_on(hold(milter, plan.connections, Depth::Content));
    let receiving = resident(&gateway);
    drop(held);
    runtime.block_on(work(milter, plan.messages_before_memory));
    arena.site.gateway = Some(gateway);
    until("all requests are answered", PATIENCE, || {
        let waiting = arena.site.layout.gateway(&["queue", "list", "--json"]);
        (waiting.trim() == "[]").then_some(())
    });
    arena.settle();
    let worked = resident(arena.site.gateway.as_ref().expect("it runs"));
    let row = |name: String, mib| (name, vec![Series(vec![mib])]);
    let connections = plan.connections;
    let table = Table {
        figures: vec![MEMORY],
        rows: vec![
            row("idle".to_owned(), idle),
            row(format!("{connections} connections"), connected),
            row(format!("{connections} requests on their way"), receiving),
            row(
                format!("after {} messages", plan.messages_before_memory),
                worked,
            ),
        ],
    };
    let bound = |what: &str, found: f64, limit| Bound {
        what: what.to_owned(),
        limit: Limit::AtMost(limit),
        found: Series(vec![found]).spread(),
        itself: None,
    };
    let bounds = vec![
        bound("idle, MiB", idle, 25.0),
        bound("at all connections, MiB", connected.max(receiving), 100.0),
    ];
    Section {
        title: "Memory",
        method: "VmRSS of a gateway that was just started, with connections that have had an answer to RCPT, with \
                 as many that have sent 8 KiB of a request, and after messages of which one in ten was a request that \
                 was answered through Postfix."
            .to_owned(),
        table,
        bounds,
    }
}

fn resident(gateway: &Gateway) -> f64 {
    Usage(gateway.id()).memory() as f64 / 1024.0
}

/// How far a message has come.
#[derive(Clone, Copy)]
enum Depth {
    Recipient,
    Content,
}

/// So many connections, each with a message on its way.
async fn hold(milter: SocketAddr, connections: usize, depth: Depth) -> Vec<Conversation> {
    let mut held = Vec::new();
    for _ in 0..connections {
        held.push(message(milter, depth).await.expect("a connection"));
    }
    held
}

async fn message(milter: SocketAddr, depth: Depth) -> io::Result<Conversation> {
    let mut conversation = Conversation::open(milter).await?;
    conversation.introduce().await?;
    match depth {
        Depth::Recipient => {
            conversation.recipient(SINK).await?;
        }
        Depth::Content => {
            conversation.recipient(GATEWAY).await?;
            conversation.say('T', b"");
            conversation.hear().await?;
            request(&mut conversation, 0);
            conversation.flush().await?;
        }
    }
    Ok(conversation)
}

/// A request's header and 8 KiB of its body.
fn request(conversation: &mut Conversation, number: usize) {
    let sender = format!("vendor{number}@sink.example");
    let fields = [
        ("From", sender.clone()),
        ("To", GATEWAY.to_owned()),
        ("Subject", format!("{{KMS:Help}} {number}")),
        ("Date", "Mon, 29 Jun 2020 03:26:45 +0200".to_owned()),
        ("Message-ID", format!("<{number}.{sender}>")),
    ];
    for (name, value) in fields {
        conversation.say('L', format!("{name}\0 {value}\0").as_bytes());
    }
    conversation.say('N', b"");
    conversation.say('B', &b"please\r\n".repeat(1024));
}

/// Messages, one in ten of them a request.
async fn work(milter: SocketAddr, messages: usize) {
    let speakers = 20;
    let mut tasks = JoinSet::new();
    for speaker in 0..speakers {
        tasks.spawn(async move {
            for number in (speaker..messages).step_by(speakers) {
                if number / speakers % 10 == 0 {
                    ask(milter, number).await.expect("a request");
                } else {
                    sessions::session(milter).await.expect("a session");
                }
            }
        });
    }
    tasks.join_all().await;
}

async fn ask(milter: SocketAddr, number: usize) -> io::Result<()> {
    let mut conversation = Conversation::open(milter).await?;
    conversation.introduce().await?;
    conversation.recipient(GATEWAY).await?;
    conversation.say('T', b"");
    conversation.hear().await?;
    request(&mut conversation, number);
    conversation.say('D', b"Ei\x004bXyZq1cDez9\0");
    conversation.say('E', b"");
    match conversation.hear().await? {
        b'd' => {}
        // The spool is full for now, and Postfix would come again.
        answer => assert_eq!(answer, b'y', "not taken"),
    }
    conversation.say('Q', b"");
    conversation.flush().await
}
