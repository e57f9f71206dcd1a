//! A milter of the site's on the reply port, as a signer is, that takes its time
//! over the end of a message or refuses it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use indymilter::{Callbacks, Config, Status};
use tokio::{net::TcpListener, runtime::Runtime, sync::watch, time::sleep};

/// Its behaviour at the end of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// It lets it pass.
    Passes,
    /// It lets it pass after this time.
    Takes(Duration),
    /// It says nothing until another manner is set.
    Hangs,
    /// It refuses it for good if this is in its Subject.
    Refuses(&'static str),
}

/// The running milter. It ends when this value is dropped.
pub struct Signer {
    manner: watch::Sender<Manner>,
    seen: Arc<AtomicUsize>,
    _runtime: Runtime,
}

impl Signer {
    /// Listens at `address`.
    pub fn at(address: SocketAddr, manner: Manner) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let listener = runtime
            .block_on(TcpListener::bind(address))
            .expect("its port");
        let manner = watch::Sender::new(manner);
        let seen = Arc::new(AtomicUsize::new(0));
        let callbacks = callbacks(manner.subscribe(), seen.clone());
        let never = std::future::pending::<()>();
        runtime.spawn(async move {
            indymilter::run(listener, callbacks, Config::default(), never)
                .await
                .expect("connections");
        });
        Self {
            manner,
            seen,
            _runtime: runtime,
        }
    }

    /// Does otherwise from now on, also with what it hangs over.
    pub fn change(&self, manner: Manner) {
        self.manner.send_replace(manner);
    }

    /// How many ends of messages it has seen.
    pub fn seen(&self) -> usize {
        self.seen.load(Ordering::SeqCst)
    }
}

/// Each message's Subject is what is kept of it.
fn callbacks(manner: watch::Receiver<Manner>, seen: Arc<AtomicUsize>) -> Callbacks<String> {
    Callbacks::new()
        .on_header(|context, name, value| {
            if name.to_string_lossy().eq_ignore_ascii_case("Subject") {
                context.data = Some(value.to_string_lossy().into_owned());
            }
            Box::pin(async { Status::Continue })
        })
        .on_eom(move |context| {
            let (manner, seen) = (manner.clone(), seen.clone());
            Box::pin(async move {
                seen.fetch_add(1, Ordering::SeqCst);
                end_of_message(manner, context.data.take().unwrap_or_default()).await
            })
        })
}

async fn end_of_message(mut manner: watch::Receiver<Manner>, subject: String) -> Status {
    let manner = manner.wait_for(|manner| *manner != Manner::Hangs).await;
    // The test has ended.
    let Ok(manner) = manner.map(|manner| *manner) else {
        return Status::Tempfail;
    };
    match manner {
        Manner::Refuses(word) if subject.contains(word) => Status::Reject,
        Manner::Takes(time) => {
            sleep(time).await;
            Status::Continue
        }
        Manner::Passes | Manner::Refuses(_) | Manner::Hangs => Status::Continue,
    }
}
