//! Addresses that were answered before, so that strangers can't make the gateway write to ever more
//! of them.

use jiff::Timestamp;
use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

use crate::policy::{ClientNetwork, Requester, Trust};
use crate::store::database::Moment;

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

impl Acquaintance {
    /// Reads what is known of this address, as it is written.
    pub(crate) async fn with(
        target: &str,
        connection: &mut SqliteConnection,
    ) -> sqlx::Result<Self> {
        let row = sqlx::query(
            "SELECT
                 EXISTS (SELECT 1 FROM reply_targets WHERE target = ?1) AS is_answered,
                 EXISTS (SELECT 1 FROM deliveries WHERE target = ?2) AS is_being_answered,
                 (SELECT verified_from FROM reply_targets WHERE target = ?1) AS verified_from,
                 (SELECT iif(attempts = 0, waits_until, accepted_at) FROM requests
                  WHERE target = ?1 ORDER BY sequence DESC LIMIT 1) AS turn",
        )
        .bind(target.to_lowercase())
        .bind(target)
        .fetch_one(connection)
        .await?;
        Ok(Self {
            is_answered: row.try_get("is_answered")?,
            is_being_answered: row.try_get("is_being_answered")?,
            verified_from: row.try_get("verified_from")?,
            turn: row
                .try_get::<Option<Moment>, _>("turn")?
                .map(|Moment(turn)| turn),
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
pub(crate) async fn remember(
    target: &str,
    verified_from: Option<&str>,
    kept: i64,
    connection: &mut SqliteConnection,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO reply_targets (sequence, target, verified_from)
         VALUES ((SELECT coalesce(max(sequence), 0) + 1 FROM reply_targets), ?, ?)
         ON CONFLICT (target) DO UPDATE SET sequence = excluded.sequence,
             verified_from = coalesce(excluded.verified_from, verified_from);
         DELETE FROM reply_targets WHERE verified_from IS NULL
             AND sequence <= (SELECT max(sequence) FROM reply_targets) - ?;
         DELETE FROM reply_targets
         WHERE sequence <= (SELECT max(sequence) FROM reply_targets) - ?",
    )
    .bind(target.to_lowercase())
    .bind(verified_from)
    .bind(kept)
    .bind(kept.saturating_mul(VERIFIED_KEPT))
    .execute(connection)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::store::testing::TestStore;

    #[tokio::test]
    async fn strangers_push_out_no_verified_address() {
        let test = TestStore::new().await;
        let mut connection = test.sqlite3().await;
        remember(
            "Jane@vendor.example",
            Some("192.0.2.0/24"),
            20,
            &mut connection,
        )
        .await
        .unwrap();
        for number in 0..70 {
            let target = format!("new{number}@b.example");
            remember(&target, None, 20, &mut connection).await.unwrap();
        }
        let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM reply_targets")
            .fetch_one(&mut connection)
            .await
            .unwrap();
        assert_eq!(kept, 21);
        let jane = Acquaintance::with("jane@vendor.example", &mut connection)
            .await
            .unwrap();
        let network = Some(std::net::IpAddr::from([192, 0, 2, 7]).into());
        assert_eq!(jane.requester(Trust::Stranger, network), Requester::Known);
        assert_eq!(jane.requester(Trust::Stranger, None), Requester::Answered);
        let old = Acquaintance::with("new1@b.example", &mut connection)
            .await
            .unwrap();
        assert!(old.is_new());
        for number in 100..200 {
            let target = format!("new{number}@b.example");
            remember(&target, None, 20, &mut connection).await.unwrap();
        }
        let jane = Acquaintance::with("jane@vendor.example", &mut connection)
            .await
            .unwrap();
        assert!(jane.is_new(), "it is bounded all the same");
    }
}
