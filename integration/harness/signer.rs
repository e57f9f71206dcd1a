//! A milter of the site's on the reply port, as a signer is, that takes its time
//! over the end of a message or refuses it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use indymilter::{Callbacks, Config, EomContext, Status};
use tokio::{net::TcpListener, runtime::Runtime, sync::watch};

/// What it does at the end of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// It lets it pass.
    Passes,
    /// It says nothing, until it is told otherwise.
    Hangs,
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

fn callbacks(manner: watch::Receiver<Manner>, seen: Arc<AtomicUsize>) -> Callbacks<()> {
    Callbacks::new().on_eom(move |_: &mut EomContext<()>| {
        let (mut manner, seen) = (manner.clone(), seen.clone());
        Box::pin(async move {
            seen.fetch_add(1, Ordering::SeqCst);
            match manner.wait_for(|manner| *manner != Manner::Hangs).await {
                Ok(_) => Status::Continue,
                Err(_) => Status::Tempfail,
            }
        })
    })
}
