//! The shares of the spool that strangers may hold, so that they can fill it only for themselves.

use crate::policy::{ClientNetwork, Requester};
use crate::store::database::{Changes, Connection, DatabaseError, Failure, StoreSettings};

/// A share of the spool. A row of the table spool_shares counts what it holds.
enum Share<'a> {
    Strangers,
    Newcomers,
    Network(&'a str),
}

impl Share<'_> {
    /// Name in the table.
    fn name(&self) -> &str {
        match self {
            Share::Strangers => "strangers",
            Share::Newcomers => "newcomers",
            Share::Network(network) => network,
        }
    }

    /// Percent of the spool that the share may hold.
    fn percent(&self, settings: &StoreSettings) -> u8 {
        match self {
            Share::Strangers => settings.strangers_percent,
            Share::Newcomers => settings.newcomers_percent,
            Share::Network(_) => settings.network_percent,
        }
    }
}

/// The shares that a message takes from.
fn shares_of(requester: Requester, network: Option<&str>) -> Vec<Share<'_>> {
    if matches!(requester, Requester::Verified | Requester::SitesOwn) {
        return Vec::new();
    }
    let mut shares = vec![Share::Strangers];
    if requester == Requester::Newcomer {
        shares.push(Share::Newcomers);
    }
    shares.extend(network.map(Share::Network));
    shares
}

/// Fails if a stranger's message of this size has no room in one of its shares. One message always
/// has.
pub(crate) fn require(
    requester: Requester,
    network: Option<ClientNetwork>,
    size: usize,
    changes: &mut Changes<'_>,
) -> Result<(), Failure> {
    let settings = changes.settings;
    let network = network.map(|network| network.to_string());
    for share in shares_of(requester, network.as_deref()) {
        let held = changes.connection.optional(
            "SELECT messages, bytes FROM spool_shares WHERE share = $1",
            &[&share.name()],
        )?;
        let Some(held) = held else {
            continue;
        };
        let messages: u64 = held.get("messages")?;
        let bytes: u64 = held.get("bytes")?;
        let percent = share.percent(settings);
        let of = |whole: u64| whole.saturating_mul(percent.into()) / 100;
        let is_over = messages >= of(settings.max_requests)
            || bytes.saturating_add(size as u64) > of(settings.max_bytes);
        if messages > 0 && is_over {
            return Err(Failure::Crowded(format!(
                "{} hold {messages} messages, {bytes} bytes: \
                 their share of the spool is {percent} %",
                share.name()
            )));
        }
    }
    Ok(())
}

/// Counts a message that comes into the spool: a request, or the reply to one. The requester and
/// the network are the request's.
pub(crate) fn take(
    requester: Requester,
    network: Option<&str>,
    size: i64,
    connection: &mut Connection,
) -> Result<(), DatabaseError> {
    for share in shares_of(requester, network) {
        connection.execute(
            "INSERT INTO spool_shares (share, messages, bytes) VALUES ($1, 1, $2)
             ON CONFLICT (share) DO UPDATE SET messages = spool_shares.messages + 1,
                 bytes = spool_shares.bytes + excluded.bytes",
            &[&share.name(), &size],
        )?;
    }
    Ok(())
}

/// Gives back what [`take`] took with the same arguments, when the message leaves the spool.
pub(crate) fn give_back(
    requester: Requester,
    network: Option<&str>,
    size: i64,
    connection: &mut Connection,
) -> Result<(), DatabaseError> {
    for share in shares_of(requester, network) {
        connection.execute(
            "UPDATE spool_shares SET messages = messages - 1, bytes = bytes - $2
             WHERE share = $1",
            &[&share.name(), &size],
        )?;
        // Networks are too many to keep a row of each.
        if let Share::Network(network) = share {
            connection.execute(
                "DELETE FROM spool_shares WHERE share = $1 AND messages <= 0",
                &[&network],
            )?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
