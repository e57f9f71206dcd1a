//! The shares of the spool that strangers may hold, so that they can fill it only for themselves.
//! Triggers count what they hold.

use sqlx::Row;

use crate::policy::{ClientNetwork, Requester};
use crate::store::database::{Changes, Failure, StoreSettings};

/// A part of the spool.
struct Share {
    /// Name in the table spool_shares.
    name: String,
    percent: u8,
}

/// The shares that a request takes from.
fn shares_of(
    requester: Requester,
    network: Option<ClientNetwork>,
    settings: &StoreSettings,
) -> Vec<Share> {
    let strangers = match requester {
        Requester::Verified | Requester::SitesOwn => return Vec::new(),
        Requester::Known | Requester::Answered | Requester::Newcomer => Share {
            name: "strangers".to_owned(),
            percent: settings.strangers_percent,
        },
    };
    let newcomers = (requester == Requester::Newcomer).then(|| Share {
        name: "newcomers".to_owned(),
        percent: settings.newcomers_percent,
    });
    let of_network = network.map(|network| Share {
        name: network.to_string(),
        percent: settings.network_percent,
    });
    [Some(strangers), newcomers, of_network]
        .into_iter()
        .flatten()
        .collect()
}

/// Fails if a stranger's message of this size has no room in one of its shares. One message always
/// has.
pub(crate) async fn require(
    requester: Requester,
    network: Option<ClientNetwork>,
    size: usize,
    changes: &mut Changes<'_>,
) -> Result<(), Failure> {
    let settings = changes.settings;
    for share in shares_of(requester, network, settings) {
        let held = sqlx::query("SELECT messages, bytes FROM spool_shares WHERE share = ?")
            .bind(&share.name)
            .fetch_optional(&mut *changes.connection)
            .await?;
        let Some(held) = held else {
            continue;
        };
        let messages: u64 = held.try_get("messages")?;
        let bytes: u64 = held.try_get("bytes")?;
        let of = |whole: u64| whole.saturating_mul(share.percent.into()) / 100;
        let is_over = messages >= of(settings.max_requests)
            || bytes.saturating_add(size as u64) > of(settings.max_bytes);
        if messages > 0 && is_over {
            return Err(Failure::Crowded(format!(
                "{} hold {messages} messages, {bytes} bytes: their share of the spool is {} %",
                share.name, share.percent
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
