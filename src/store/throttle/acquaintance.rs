//! Addresses that were answered before, so that strangers can't make the gateway write to ever more
//! of them.

use jiff::Timestamp;

use crate::policy::{ClientNetwork, Requester, Trust};
use crate::store::database::{Connection, DatabaseError};

/// Knowledge of an address that is to be answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Acquaintance {
    /// Whether it was answered before.
    is_answered: bool,
    /// Whether a reply is on its way to it.
    is_being_answered: bool,
    /// Network of the latest verified request that was answered there.
    verified_from: Option<String>,
    /// Turn of the latest request that waits for this address.
    pub(crate) turn: Option<Timestamp>,
}

/// Reads the row of [`Acquaintance`] for the address $2, which is $1 in small letters.
const KNOWN: &str = "SELECT
         EXISTS (SELECT 1 FROM reply_targets WHERE target = $1) AS is_answered,
         EXISTS (SELECT 1 FROM deliveries WHERE target = $2) AS is_being_answered,
         (SELECT verified_from FROM reply_targets WHERE target = $1) AS verified_from,
         (SELECT CASE WHEN attempts = 0 THEN waits_until ELSE accepted_at END
          FROM requests WHERE target = $1 ORDER BY sequence DESC LIMIT 1) AS turn";

impl Acquaintance {
    /// Reads what is known of this address, as it is written.
    pub(crate) fn with(target: &str, connection: &mut Connection) -> Result<Self, DatabaseError> {
        let row = connection.one(KNOWN, &[&target.to_lowercase(), &target])?;
        Ok(Self {
            is_answered: row.get("is_answered")?,
            is_being_answered: row.get("is_being_answered")?,
            verified_from: row.get("verified_from")?,
            turn: row.get("turn")?,
        })
    }

    /// Whether the address never was answered and no answer is on its way.
    pub(crate) fn is_new(&self) -> bool {
        !self.is_answered && !self.is_being_answered && self.turn.is_none()
    }

    /// The standing of a request under this address, from this network.
    pub(crate) fn requester(&self, trust: Trust, network: Option<ClientNetwork>) -> Requester {
        match trust {
            Trust::Verified => Requester::Verified,
            Trust::SitesOwn => Requester::SitesOwn,
            Trust::Stranger if self.verified_from == Some(place(network)) => Requester::Known,
            Trust::Stranger if self.is_answered => Requester::Answered,
            Trust::Stranger => Requester::Newcomer,
        }
    }
}

/// A network as the table has it.
fn place(network: Option<ClientNetwork>) -> String {
    network
        .map(|network| network.to_string())
        .unwrap_or_default()
}

/// Verified addresses that are kept for each other one.
const VERIFIED_KEPT: i64 = 4;

/// Remembers that an address was answered. The `kept` addresses that were answered last stay, and
/// strangers push out no verified address.
pub(crate) fn remember(
    target: &str,
    verified_from: Option<&str>,
    kept: i64,
    connection: &mut Connection,
) -> Result<(), DatabaseError> {
    connection.execute(
        "INSERT INTO reply_targets (sequence, target, verified_from)
         VALUES ((SELECT coalesce(max(sequence), 0) + 1 FROM reply_targets), $1, $2)
         ON CONFLICT (target) DO UPDATE SET sequence = excluded.sequence,
             verified_from = coalesce(excluded.verified_from, reply_targets.verified_from)",
        &[&target.to_lowercase(), &verified_from],
    )?;
    connection.execute(
        "DELETE FROM reply_targets WHERE verified_from IS NULL
             AND sequence <= (SELECT max(sequence) FROM reply_targets) - $1",
        &[&kept],
    )?;
    connection.execute(
        "DELETE FROM reply_targets
         WHERE sequence <= (SELECT max(sequence) FROM reply_targets) - $1",
        &[&kept.saturating_mul(VERIFIED_KEPT)],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::ops::Range;

    use super::*;
    use crate::store::testing::{TestStore, request};

    /// Knowledge of an address in a store.
    async fn with(target: &'static str, test: &TestStore) -> Acquaintance {
        let read = test
            .store
            .read(|connection| Acquaintance::with(target, connection));
        read.await.unwrap()
    }

    /// Answers strangers at new addresses of these numbers, of which 20 are kept.
    async fn answer_strangers(numbers: Range<u8>, test: &TestStore) {
        let answered = test.store.change(move |changes| {
            for number in numbers.clone() {
                let target = format!("new{number}@b.example");
                remember(&target, None, 20, changes.connection)?;
            }
            Ok(())
        });
        answered.await.unwrap();
    }

    #[tokio::test]
    async fn the_latest_request_of_an_address_is_found_by_an_index() {
        let test = TestStore::new().await;
        test.store.accept(request(1)).await.unwrap();
        test.add_many_requests().await;
        let statement = KNOWN.replace("$1", "'a'").replace("$2", "'a'");
        let plan = test.plan(&statement).await;
        assert!(plan.contains("requests_of_target"), "{plan}");
    }

    #[tokio::test]
    async fn strangers_push_out_no_verified_address() {
        let test = TestStore::new().await;
        let verified = test.store.change(|changes| {
            let network = Some("192.0.2.0/24");
            Ok(remember(
                "Jane@vendor.example",
                network,
                20,
                changes.connection,
            )?)
        });
        verified.await.unwrap();
        answer_strangers(0..70, &test).await;
        let kept: i64 = test.scalar("SELECT count(*) FROM reply_targets").await;
        assert_eq!(kept, 21);
        let jane = with("jane@vendor.example", &test).await;
        let network = Some(std::net::IpAddr::from([192, 0, 2, 7]).into());
        assert_eq!(jane.requester(Trust::Stranger, network), Requester::Known);
        assert_eq!(jane.requester(Trust::Stranger, None), Requester::Answered);
        assert!(with("new1@b.example", &test).await.is_new());
        answer_strangers(100..200, &test).await;
        let jane = with("jane@vendor.example", &test).await;
        assert!(jane.is_new(), "it is bounded all the same");
    }
}
