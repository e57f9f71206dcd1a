//! The KMC keys that serve at a given time, and how long one will.

use jiff::SignedDuration;
use thiserror::Error;

use super::issue::KmsError;
use super::rows::KmcKeyRow;
use crate::as_text::words;
use crate::sts::{KmcId, StsTime};

words! {
    /// The stage of a KMC key's life.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub(crate) enum KmcKeyState {
        /// Not activated yet.
        Coming = "coming",
        /// Handed out to modules: the key activated last among those that are
        /// activated and not expired.
        Active = "active",
        /// Followed by another key, but not expired: requests made for it are answered.
        Retiring = "retiring",
        /// Requests made for it are no longer answered.
        Expired = "expired",
    }
}

/// The warning that the last KMC key expires soon, or has expired.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum KeysRunOut {
    /// No key serves.
    #[error("no KMC key serves; make one by kms-gateway kmc init")]
    Now,
    /// No key will serve.
    #[error(
        "no KMC key serves from {from} on (days left: {days}); make the next by kms-gateway kmc rotate"
    )]
    Soon {
        /// Expiry of the last key in the row of keys that leaves no gap.
        from: StsTime,
        /// Whole days until then.
        days: i64,
    },
}

/// The KMC keys as they stand at one time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KmcKeys<'a> {
    rows: &'a [KmcKeyRow],
    now: StsTime,
}

impl<'a> KmcKeys<'a> {
    /// The keys in `rows` as they stand at `now`.
    pub(crate) fn at(now: StsTime, rows: &'a [KmcKeyRow]) -> Self {
        Self { rows, now }
    }

    /// The key that modules should now use.
    pub(crate) fn active(&self) -> Option<&'a KmcKeyRow> {
        let serving = self.rows.iter().filter(|row| serves_at(row, self.now));
        // The KMCID decides between two keys activated in the same second.
        serving.max_by_key(|row| (row.activation, &row.kmcid))
    }

    /// The key that modules should now use, for an answer that needs one.
    ///
    /// # Errors
    /// [`KmsError::Unavailable`]: no key is active.
    pub(super) fn required(&self) -> Result<&'a KmcKeyRow, KmsError> {
        let why = "no KMC key is active: make one by kms-gateway kmc init";
        let none = || KmsError::Unavailable(why.to_owned());
        self.active().ok_or_else(none)
    }

    /// The key with this KMCID, if requests made for it are answered.
    pub(crate) fn serving(&self, kmcid: &KmcId) -> Option<&'a KmcKeyRow> {
        self.rows
            .iter()
            .find(|row| row.kmcid == *kmcid && serves_at(row, self.now))
    }

    /// The stage of `row`, which is one of these keys.
    pub(crate) fn state(&self, row: &KmcKeyRow) -> KmcKeyState {
        if row.expiry <= self.now {
            KmcKeyState::Expired
        } else if row.activation > self.now {
            KmcKeyState::Coming
        } else if self
            .active()
            .is_some_and(|active| active.kmcid == row.kmcid)
        {
            KmcKeyState::Active
        } else {
            KmcKeyState::Retiring
        }
    }

    /// The warning, if [`served_until`](Self::served_until) is `within` that time
    /// from now.
    pub(crate) fn run_out(&self, within: SignedDuration) -> Option<KeysRunOut> {
        let Some(until) = self.served_until() else {
            return Some(KeysRunOut::Now);
        };
        let left = SignedDuration::from_secs(until.unix_seconds() - self.now.unix_seconds());
        (left <= within).then(|| KeysRunOut::Soon {
            from: until,
            days: left.as_hours() / 24,
        })
    }

    /// Time up to which keys serve from now on without a gap. None if no key
    /// serves now.
    pub(crate) fn served_until(&self) -> Option<StsTime> {
        let mut until = None;
        let mut at = self.now;
        while let Some(expiry) = self.expiry_of_those_serving_at(at) {
            at = expiry;
            until = Some(expiry);
        }
        until
    }

    fn expiry_of_those_serving_at(&self, time: StsTime) -> Option<StsTime> {
        let serving = self.rows.iter().filter(|row| serves_at(row, time));
        serving.map(|row| row.expiry).max()
    }
}

fn serves_at(row: &KmcKeyRow, time: StsTime) -> bool {
    row.activation <= time && row.expiry > time
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{
        kms::{Curve, PrivateKey},
        secrets::Sealed,
    };

    /// Activation and expiry, January 2026 by day.
    fn key(name: &str, activation: u8, expiry: u8) -> KmcKeyRow {
        let created = "20260101T000000Z".parse().unwrap();
        let (issuer, name) = ("Example".parse().unwrap(), name.parse().unwrap());
        KmcKeyRow {
            kmcid: KmcId::new(issuer, name, created, [0; 8]),
            curve: Curve::P256,
            public_key: PrivateKey::generate(Curve::P256)
                .unwrap()
                .public_point()
                .to_text(),
            activation: day(activation),
            expiry: day(expiry),
            sealed_private_key: Sealed::from_bytes(Vec::new()),
        }
    }

    fn day(day: u8) -> StsTime {
        format!("202601{day:02}T000000Z").parse().unwrap()
    }

    fn states(rows: &[KmcKeyRow], now: StsTime) -> Vec<KmcKeyState> {
        rows.iter()
            .map(|row| KmcKeys::at(now, rows).state(row))
            .collect()
    }

    #[test]
    fn a_key_comes_serves_retires_and_expires() {
        use KmcKeyState::{Active, Coming, Expired, Retiring};
        let rows = [key("K1", 2, 10), key("K2", 5, 15)];
        for (now, expected) in [
            ("20260101T235959Z", [Coming, Coming]),
            ("20260102T000000Z", [Active, Coming]),
            ("20260104T235959Z", [Active, Coming]),
            ("20260105T000000Z", [Retiring, Active]),
            ("20260109T235959Z", [Retiring, Active]),
            ("20260110T000000Z", [Expired, Active]),
            ("20260115T000000Z", [Expired, Expired]),
        ] {
            assert_eq!(states(&rows, now.parse().unwrap()), expected, "{now}");
        }
    }

    #[test]
    fn an_older_key_serves_again_when_a_newer_one_has_expired() {
        let rows = [key("K1", 2, 20), key("K2", 5, 10)];
        let names = |now| {
            KmcKeys::at(now, &rows)
                .active()
                .map(|row| row.kmcid.name().to_string())
        };
        assert_eq!(names(day(7)).as_deref(), Some("K2"));
        assert_eq!(names(day(12)).as_deref(), Some("K1"));
        assert_eq!(names(day(20)), None);
    }

    #[test]
    fn the_end_of_the_last_key_without_a_gap_is_warned_of() {
        let within = SignedDuration::from_hours(3 * 24);
        let warned = |rows: &[KmcKeyRow], now| KmcKeys::at(day(now), rows).run_out(within);
        let soon = |from, days| {
            Some(KeysRunOut::Soon {
                from: day(from),
                days,
            })
        };
        let alone = [key("K1", 2, 20)];
        assert_eq!(warned(&[], 1), Some(KeysRunOut::Now));
        assert_eq!(warned(&alone, 1), Some(KeysRunOut::Now), "still to come");
        assert_eq!(warned(&alone, 2), None);
        assert_eq!(warned(&alone, 16), None);
        assert_eq!(warned(&alone, 17), soon(20, 3));
        assert_eq!(warned(&alone, 19), soon(20, 1));
        assert_eq!(warned(&alone, 20), Some(KeysRunOut::Now));

        let followed = [key("K1", 2, 10), key("K2", 10, 20)];
        assert_eq!(warned(&followed, 9), None);
        assert_eq!(warned(&followed, 18), soon(20, 2));
        let after_a_gap = [key("K1", 2, 10), key("K2", 11, 20)];
        assert_eq!(warned(&after_a_gap, 9), soon(10, 1));
    }

    #[test]
    fn of_two_keys_of_one_time_always_the_same_is_active() {
        let rows = [key("K1", 2, 20), key("K2", 2, 20)];
        let reversed = [rows[1].clone(), rows[0].clone()];
        for rows in [rows, reversed] {
            let active = KmcKeys::at(day(3), &rows).active().unwrap();
            assert_eq!(active.kmcid.name().to_string(), "K2");
        }
    }

    #[test]
    fn a_key_is_served_while_it_is_active_or_retiring() {
        let rows = [key("K1", 2, 10), key("K2", 5, 15)];
        for now in 1..=16 {
            let keys = KmcKeys::at(day(now), &rows);
            for row in &rows {
                let serves = matches!(keys.state(row), KmcKeyState::Active | KmcKeyState::Retiring);
                assert_eq!(
                    keys.serving(&row.kmcid).is_some(),
                    serves,
                    "{now} {}",
                    row.kmcid
                );
            }
        }
    }
}
