//! Watches the hand-over of replies: logs trouble once a minute, and measures. While the
//! port is in trouble, notifies late requesters and gives up replies that are too old.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};

use super::{
    injection::Injector,
    task::{Worker, jitter},
};
use crate::{
    mail::NoticeCode,
    measures::{DELIVERIES, DeliveryEnd, NOTICES, NoticeSent, REPLIES_REFUSED, REPLY_PORT_UP},
    store::{HandOver, PortFailure, PortTrouble, StoreError},
    time::Clock as _,
};

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(5);

/// Time between two log lines about the same trouble.
const LOGGED_EVERY: Duration = Duration::from_secs(60);

/// The last log lines about each kind of trouble.
#[derive(Default)]
struct Logged {
    port: Option<Instant>,
    refusals: Option<Instant>,
}

impl Worker {
    /// Looks again and again until `stop` turns true.
    pub(super) async fn watch_hand_over(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut looks = interval(EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut logged = Logged::default();
        let looking = async {
            loop {
                looks.tick().await;
                if let Err(error) = self.look_at_hand_over(&mut logged).await {
                    tracing::error!(%error, "the store is in trouble; trying again");
                }
            }
        };
        tokio::select! {
            () = looking => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }

    async fn look_at_hand_over(&self, logged: &mut Logged) -> Result<(), StoreError> {
        let port = self.delivering.borrow().server;
        let seen = self.store.hand_over(port, self.clock.now()).await?;
        REPLY_PORT_UP.only().set(u8::from(seen.trouble.is_none()));
        REPLIES_REFUSED.only().set(seen.refused as f64);
        let usage = self.store.spool_usage().await?;
        logged.log(&seen, usage.replies);
        let Some(trouble) = &seen.trouble else {
            return Ok(());
        };
        self.notify_late().await?;
        self.give_up_waiting(trouble).await?;
        match usage.replies {
            0 => self.try_port(trouble).await,
            _ => Ok(()),
        }
    }

    /// Notifies late requesters. No attempt at a delivery does so while the port is in
    /// trouble.
    async fn notify_late(&self) -> Result<(), StoreError> {
        loop {
            let now = self.clock.now();
            let late_if_by = self.retry.late_if_by(now);
            match self.store.notify_late(now, late_if_by).await? {
                0 => return Ok(()),
                notified => NOTICES
                    .at(NoticeSent(NoticeCode::Deferred))
                    .increment(notified as u64),
            }
        }
    }

    /// Gives up the replies that have waited too long for the port.
    async fn give_up_waiting(&self, trouble: &PortTrouble) -> Result<(), StoreError> {
        let reason = format!("Postfix's reply port took no replies: {}", trouble.trouble);
        loop {
            let now = self.clock.now();
            let before = self.clock.surely_before(self.retry.give_up.as_signed());
            let given_up = self.store.give_up_deliveries(before, now, &reason).await?;
            if given_up.is_empty() {
                return Ok(());
            }
            for own in given_up {
                let (queue_id, request, target) = (own.queue_id, own.request_id, own.target);
                tracing::error!(queue_id, %request, target, reason, "reply given up");
                DELIVERIES.at(DeliveryEnd::GivenUp).increment(1);
            }
        }
    }

    /// Tries the port itself, as no waiting reply can try it.
    async fn try_port(&self, trouble: &PortTrouble) -> Result<(), StoreError> {
        let now = self.clock.now();
        if trouble.until > now {
            return Ok(());
        }
        let settings = self.delivering.borrow().clone();
        match Injector::connect(settings.server, &settings.helo_name).await {
            Ok(session) => {
                session.quit().await;
                self.port_works(settings.server).await
            }
            Err(error) => {
                let now = self.clock.now();
                let failures = trouble.failures + 1;
                self.port_fails(PortFailure {
                    port: settings.server,
                    at: now,
                    until: self.retry.port_again(failures, now, jitter(now)),
                    refuses: false,
                    trouble: error.to_string(),
                    is_trial: true,
                })
                .await
            }
        }
    }

    /// Notes that a port takes no replies, and logs it if that is new.
    pub(super) async fn port_fails(&self, failure: PortFailure) -> Result<(), StoreError> {
        let (port, trouble) = (failure.port, failure.trouble.clone());
        if self.store.port_fails(failure).await? {
            tracing::error!(%port, trouble, "Postfix's reply port takes no replies; they wait, and it is tried again");
        }
        Ok(())
    }

    /// Notes that a port takes replies, and logs it if that is new.
    pub(super) async fn port_works(&self, port: std::net::SocketAddr) -> Result<(), StoreError> {
        if self.store.port_works(port, self.clock.now()).await? {
            tracing::info!(%port, "Postfix's reply port takes replies again");
        }
        Ok(())
    }
}

impl Logged {
    fn log(&mut self, seen: &HandOver, waiting: u64) {
        let now = Instant::now();
        let is_due = |last: Option<Instant>| {
            last.is_none_or(|last| now.duration_since(last) >= LOGGED_EVERY)
        };
        match &seen.trouble {
            // The beginning of the trouble was logged by `port_fails`.
            Some(_) if self.port.is_none() => self.port = Some(now),
            Some(of) if is_due(self.port) => {
                let (port, since, trouble) = (of.port, of.since, &of.trouble);
                tracing::error!(%port, waiting, %since, trouble, "Postfix's reply port still takes no replies");
                self.port = Some(now);
            }
            Some(_) => {}
            None => self.port = None,
        }
        if seen.refused > 0 && is_due(self.refusals) {
            let (refused, refusal) = (seen.refused, &seen.refusal);
            tracing::error!(
                refused,
                refusal,
                "Postfix refuses replies, and not for their addresses; they are kept and tried again"
            );
            self.refusals = Some(now);
        }
    }
}
