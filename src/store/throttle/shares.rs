//! The shares of the spool that strangers may hold, so that they can fill it only for themselves.
//! Triggers count what they hold.

use sqlx::Row;

use crate::policy::{ClientNetwork, Requester};
use crate::store::database::{Changes, Failure, StoreSettings};

/// The shares that a request takes from: name in the table spool_shares, and percent of the spool.
fn shares_of(
    requester: Requester,
    network: Option<ClientNetwork>,
    settings: &StoreSettings,
) -> Vec<(String, u8)> {
    if matches!(requester, Requester::Verified | Requester::SitesOwn) {
        return Vec::new();
    }
    let mut shares = vec![("strangers".to_owned(), settings.strangers_percent)];
    if requester == Requester::Newcomer {
        shares.push(("newcomers".to_owned(), settings.newcomers_percent));
    }
    shares.extend(network.map(|network| (network.to_string(), settings.network_percent)));
    shares
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
    for (name, percent) in shares_of(requester, network, settings) {
        let held = sqlx::query("SELECT messages, bytes FROM spool_shares WHERE share = ?")
            .bind(&name)
            .fetch_optional(&mut *changes.connection)
            .await?;
        let Some(held) = held else {
            continue;
        };
        let messages: u64 = held.try_get("messages")?;
        let bytes: u64 = held.try_get("bytes")?;
        let of = |whole: u64| whole.saturating_mul(percent.into()) / 100;
        let is_over = messages >= of(settings.max_requests)
            || bytes.saturating_add(size as u64) > of(settings.max_bytes);
        if messages > 0 && is_over {
            return Err(Failure::Crowded(format!(
                "{name} hold {messages} messages, {bytes} bytes: \
                 their share of the spool is {percent} %"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
