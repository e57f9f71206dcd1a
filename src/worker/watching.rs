//! Watches the hand-over of replies: says once a minute what is in the way of it,
//! has those told and given up who wait for a port in trouble, and measures.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};

use super::{Injector, Worker, jitter};
use crate::{
    clock::Clock as _,
    mail::NoticeCode,
    measures::{DELIVERIES, DeliveryEnd, NOTICES, NoticeSent, REPLIES_REFUSED, REPLY_PORT_UP},
    store::{HandOver, PortFailure, PortTrouble, StoreError},
};

/// How often it is looked at.
const EVERY: Duration = Duration::from_secs(5);

/// How often the same trouble is told.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// When what was last told.
#[derive(Default)]
struct Told {
    port: Option<Instant>,
    refusals: Option<Instant>,
}

impl Worker {
    /// Looks again and again until `stop` turns true.
    pub(super) async fn watch_hand_over(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut looks = interval(EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = Told::default();
        let looking = async {
            loop {
                looks.tick().await;
                if let Err(error) = self.look_at_hand_over(&mut told).await {
                    tracing::error!(%error, "the store is in trouble; trying again");
                }
            }
        };
        tokio::select! {
            () = looking => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }

    async fn look_at_hand_over(&self, told: &mut Told) -> Result<(), StoreError> {
        let port = self.delivering.borrow().settings.server;
        let seen = self.store.hand_over(port, self.clock.now()).await?;
        REPLY_PORT_UP.only().set(u8::from(seen.trouble.is_none()));
        REPLIES_REFUSED.only().set(seen.refused as f64);
        let usage = self.store.spool_usage().await?;
        told.tell(&seen, usage.replies);
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

    /// Nobody attempts what waits for the port, and finds it late.
    async fn notify_late(&self) -> Result<(), StoreError> {
        loop {
            let now = self.clock.now();
            let late_if_by = self.retry.late_if_by(now);
            match self.store.notify_late(now, late_if_by).await? {
                0 => return Ok(()),
                told => NOTICES
                    .at(NoticeSent(NoticeCode::Deferred))
                    .increment(told as u64),
            }
        }
    }

    /// Nor too old.
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

    /// Tries a port for which no reply waits that could try it.
    async fn try_port(&self, trouble: &PortTrouble) -> Result<(), StoreError> {
        let now = self.clock.now();
        if trouble.until > now {
            return Ok(());
        }
        let settings = self.delivering.borrow().settings.clone();
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

    /// Notes that a port takes nothing, and says so if that is new.
    pub(super) async fn port_fails(&self, failure: PortFailure) -> Result<(), StoreError> {
        let (port, trouble) = (failure.port, failure.trouble.clone());
        if self.store.port_fails(failure).await? {
            tracing::error!(%port, trouble, "Postfix's reply port takes no replies; they wait, and it is tried again");
        }
        Ok(())
    }

    /// Notes that a port takes replies, and says so if that is new.
    pub(super) async fn port_works(&self, port: std::net::SocketAddr) -> Result<(), StoreError> {
        if self.store.port_works(port, self.clock.now()).await? {
            tracing::info!(%port, "Postfix's reply port takes replies again");
        }
        Ok(())
    }
}

impl Told {
    fn tell(&mut self, seen: &HandOver, waiting: u64) {
        let now = Instant::now();
        let is_due =
            |last: Option<Instant>| last.is_none_or(|last| now.duration_since(last) >= TOLD_EVERY);
        match &seen.trouble {
            // Told when it began.
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
