//! The effects of services. An issued key load file leaves its replay mark and its place in the
//! module's history. An update file leaves the rows of modules and its serial.

use jiff::Timestamp;

use super::changes::{add_module, replace_module};
use super::tables::revision;
use crate::store::database::{
    Changes, Connection, DatabaseError, Failure, Row, Store, StoreError, Text,
};
use crate::sts::{SmId, StsTime};
use crate::{
    kms::{Effects, KlfIssued, ModuleChanged, ModulesUpdated},
    request_id::RequestId,
};

/// A key load file that was issued to a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PastIssue {
    pub(crate) request_id: RequestId,
    /// When the module made the request, by its own clock.
    pub(crate) request_time: StsTime,
    pub(crate) issued_at: Timestamp,
    /// Vending keys in the file: SGC/KRN, separated by commas.
    pub(crate) keys: String,
}

impl Store {
    /// At most `limit` key load files that were issued to a module, the latest first.
    pub(crate) async fn issued_to(
        &self,
        smid: &SmId,
        limit: u32,
    ) -> Result<Vec<PastIssue>, StoreError> {
        let smid = smid.clone();
        self.read(move |connection| issued_to(&smid, limit, connection))
            .await
    }

    /// Forgets replay marks of requests made at or before `through`. Each module refuses the same
    /// requests as before, since a watermark takes their place: [`crate::kms::Asker::watermark`].
    /// Returns how many were forgotten.
    pub(crate) async fn prune_replay_marks(&self, through: StsTime) -> Result<u64, StoreError> {
        self.change(move |changes| Ok(prune_replay_marks(through, changes.connection)?))
            .await
    }

    /// Forgets key load files issued before a time. Returns how many.
    pub(crate) async fn prune_history(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.change(move |changes| Ok(prune_history(before, changes.connection)?))
            .await
    }
}

fn issued_to(
    smid: &SmId,
    limit: u32,
    connection: &mut Connection,
) -> Result<Vec<PastIssue>, DatabaseError> {
    let rows = connection.all(
        "SELECT request_id, request_time, issued_at, keys FROM klf_issues
         WHERE smid = $1 ORDER BY issued_at DESC, sequence DESC LIMIT $2",
        &[&Text(smid), &limit],
    )?;
    rows.iter().map(read_issue).collect()
}

fn read_issue(row: &Row) -> Result<PastIssue, DatabaseError> {
    Ok(PastIssue {
        request_id: row.text("request_id")?,
        request_time: row.text("request_time")?,
        issued_at: row.get("issued_at")?,
        keys: row.get("keys")?,
    })
}

/// Writes the effects of a service. False, and nothing written, if the tables that they rest on
/// have changed.
pub(crate) fn record(
    effects: &Effects,
    request: RequestId,
    at: Timestamp,
    changes: &mut Changes<'_>,
) -> Result<bool, Failure> {
    match effects {
        Effects::None => Ok(true),
        Effects::KlfIssued(issued) => Ok(record_klf(issued, request, at, changes.connection)?),
        Effects::ModulesUpdated(updated) => record_update(updated, at, changes),
    }
}

/// Writes all of an update file or nothing: a row that is not as it was read undoes those before.
fn record_update(
    updated: &ModulesUpdated,
    at: Timestamp,
    changes: &mut Changes<'_>,
) -> Result<bool, Failure> {
    if revision(changes.connection)? != updated.basis {
        return Ok(false);
    }
    changes.connection.execute(
        "INSERT INTO stsa_updates (stsa_key, serial, digest) VALUES ($1, $2, $3)
         ON CONFLICT (stsa_key) DO UPDATE SET serial = excluded.serial, digest = excluded.digest",
        &[&Text(&updated.stsa_key), &updated.serial, &updated.digest],
    )?;
    let count = updated.changed.len();
    let (serial, signer) = (updated.serial, updated.signer);
    let detail = format!("update {serial} by the STSA's key {signer}: {count} modules");
    changes.kms_changed(at, detail)?;
    for ModuleChanged { read, row } in &updated.changed {
        let done = match read {
            None => add_module(row, at, changes)?,
            Some(read) => replace_module(read, row, at, changes)?,
        };
        // Only a fault can refuse: the revision is the one that the rows were read at.
        done.map_err(DatabaseError::encode)?;
    }
    Ok(true)
}

fn record_klf(
    issued: &KlfIssued,
    request: RequestId,
    at: Timestamp,
    connection: &mut Connection,
) -> Result<bool, DatabaseError> {
    // Issues don't count the revision, or any two at once would be in each other's way. Two issues
    // conflict only by their replay mark and by the last place under the limit.
    if revision(connection)? != issued.basis
        || !is_below_limit(issued, at, connection)?
        || !mark(issued, connection)?
    {
        return Ok(false);
    }
    let keys: Vec<String> = issued
        .keys
        .iter()
        .map(|(sgc, krn)| format!("{sgc}/{krn}"))
        .collect();
    connection.execute(
        "INSERT INTO klf_issues (smid, request_id, request_time, issued_at, keys)
         VALUES ($1, $2, $3, $4, $5)",
        &[
            &Text(&issued.smid),
            &Text(request),
            &Text(issued.request_time),
            &at,
            &keys.join(","),
        ],
    )?;
    Ok(true)
}

fn is_below_limit(
    issued: &KlfIssued,
    at: Timestamp,
    connection: &mut Connection,
) -> Result<bool, DatabaseError> {
    let Some(limit) = issued.limit else {
        return Ok(true);
    };
    let since = at.checked_sub(limit.within).unwrap_or(Timestamp::MIN);
    connection.scalar(
        "SELECT count(*) < $1 FROM klf_issues WHERE smid = $2 AND issued_at > $3",
        &[&limit.at_most.get(), &Text(&issued.smid), &since],
    )
}

/// Writes the replay mark. False if there is one, or was one before it was forgotten.
fn mark(issued: &KlfIssued, connection: &mut Connection) -> Result<bool, DatabaseError> {
    let written = connection.execute(
        "INSERT INTO replay_marks (replay_key, smid, request_time)
         SELECT $1, smid, $3 FROM modules
         WHERE smid = $2 AND (replay_watermark IS NULL OR replay_watermark < $3)
         ON CONFLICT (replay_key) DO NOTHING",
        &[
            &issued.replay_key,
            &Text(&issued.smid),
            &Text(issued.request_time),
        ],
    )?;
    Ok(written == 1)
}

fn prune_replay_marks(through: StsTime, connection: &mut Connection) -> Result<u64, DatabaseError> {
    connection.execute(
        "UPDATE modules SET replay_watermark = old.newest
         FROM (SELECT smid, max(request_time) AS newest FROM replay_marks
               WHERE request_time <= $1 GROUP BY smid) AS old
         WHERE old.smid = modules.smid",
        &[&Text(through)],
    )?;
    connection.execute(
        "DELETE FROM replay_marks WHERE request_time <= $1",
        &[&Text(through)],
    )
}

fn prune_history(before: Timestamp, connection: &mut Connection) -> Result<u64, DatabaseError> {
    connection.execute("DELETE FROM klf_issues WHERE issued_at < $1", &[&before])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::num::NonZeroU32;

    use jiff::SignedDuration;

    use super::*;
    use crate::store::testing::{TestStore, at, completion, klf_issued, module_row, request, smid};
    use crate::store::{Completed, Completion};
    use crate::{
        kms::{Asker, IssueLimit, KmsTables, ModuleRow, ModuleState},
        secrets::Sealed,
    };

    async fn with_module() -> TestStore {
        let test = TestStore::new().await;
        test.store.add_module(module_row(), at(0)).await.unwrap();
        test
    }

    async fn asker(test: &TestStore) -> Asker {
        test.store.asker(&smid(), &[9; 32]).await.unwrap()
    }

    /// Takes request `number` to its completion with these effects.
    async fn complete(test: &TestStore, number: u8, issued: KlfIssued) -> Completed {
        test.store.accept(request(number)).await.unwrap();
        let leased = test.lease(at(number.into())).await.unwrap();
        let effects = Effects::KlfIssued(issued);
        let completion = Completion {
            effects,
            ..completion(at(60), &["a@b.example"])
        };
        test.store
            .complete(&leased.token, completion)
            .await
            .unwrap()
    }

    fn time(text: &str) -> StsTime {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn an_issue_is_marked_against_replay_and_kept_in_the_history() {
        let test = with_module().await;
        let issued = klf_issued(asker(&test).await.revision);
        assert_eq!(complete(&test, 1, issued).await, Completed::Committed);
        let after = asker(&test).await;
        assert!(after.replayed);
        let history = test
            .scalar::<String>("SELECT smid || ' ' || request_time || ' ' || keys FROM klf_issues")
            .await;
        let smid = smid();
        assert_eq!(history, format!("{smid} 20260301T115900Z 000439/1"));
    }

    #[tokio::test]
    async fn a_module_revoked_meanwhile_by_another_process_gets_nothing() {
        let test = with_module().await;
        test.store.accept(request(1)).await.unwrap();
        let leased = test.lease(at(1)).await.unwrap();
        let issued = klf_issued(asker(&test).await.revision);

        let elsewhere = test.another().await;
        let sealed_dak = Sealed::from_bytes(vec![42]);
        let revoked = ModuleRow {
            state: ModuleState::Revoked,
            sealed_dak,
            ..module_row()
        };
        elsewhere
            .replace_module(&module_row(), revoked, at(2))
            .await
            .unwrap();

        let complete = |effects| {
            let completion = Completion {
                effects,
                ..completion(at(3), &["a@b.example"])
            };
            test.store.complete(&leased.token, completion)
        };
        let refused = complete(Effects::KlfIssued(issued)).await.unwrap();
        assert_eq!(refused, Completed::BasisChanged);
        assert!(!asker(&test).await.replayed);
        let usage = test.store.spool_usage().await.unwrap();
        assert_eq!(
            (usage.requests, usage.replies),
            (1, 0),
            "nothing was written"
        );
        assert_eq!(complete(Effects::None).await.unwrap(), Completed::Committed);
    }

    #[tokio::test]
    async fn of_two_answers_to_one_record_one_is_committed() {
        let test = with_module().await;
        let issued = klf_issued(asker(&test).await.revision);
        assert_eq!(
            complete(&test, 1, issued.clone()).await,
            Completed::Committed
        );
        assert_eq!(
            complete(&test, 2, issued.clone()).await,
            Completed::BasisChanged
        );
        let another = KlfIssued {
            replay_key: [8; 32],
            ..issued
        };
        assert_eq!(
            complete(&test, 3, another).await,
            Completed::Committed,
            "issues count no revision"
        );
    }

    #[tokio::test]
    async fn of_two_issues_at_once_one_gets_the_last_place_under_the_limit() {
        let test = with_module().await;
        let revision = asker(&test).await.revision;
        let limit = IssueLimit {
            at_most: NonZeroU32::MIN,
            within: SignedDuration::from_mins(1),
        };
        let issued = |number| KlfIssued {
            replay_key: [number; 32],
            limit: Some(limit),
            ..klf_issued(revision)
        };
        assert_eq!(complete(&test, 1, issued(1)).await, Completed::Committed);
        assert_eq!(complete(&test, 2, issued(2)).await, Completed::BasisChanged);
    }

    #[tokio::test]
    async fn a_module_s_history_has_the_latest_first() {
        let test = with_module().await;
        let revision = asker(&test).await.revision;
        for number in [1, 2] {
            let issued = KlfIssued {
                replay_key: [number; 32],
                ..klf_issued(revision)
            };
            complete(&test, number, issued).await;
        }
        let issue = |number| PastIssue {
            request_id: request(number).id,
            request_time: time("20260301T115900Z"),
            issued_at: at(60),
            keys: "000439/1".to_owned(),
        };
        let smid = smid();
        let history = |limit| test.store.issued_to(&smid, limit);
        assert_eq!(history(9).await.unwrap(), [issue(2), issue(1)]);
        assert_eq!(history(1).await.unwrap(), [issue(2)]);
        let of = |since| test.store.issuable(&smid, Some(since));
        assert_eq!(of(at(59)).await.unwrap().issued, [at(60); 2]);
        assert!(of(at(60)).await.unwrap().issued.is_empty());
        assert!(
            test.store
                .issuable(&smid, None)
                .await
                .unwrap()
                .issued
                .is_empty(),
            "not asked for"
        );
        assert_eq!(test.store.prune_history(at(60)).await.unwrap(), 0);
        assert_eq!(test.store.prune_history(at(61)).await.unwrap(), 2);
        assert!(history(9).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_pruning_forgets_the_watermark_refuses() {
        let test = with_module().await;
        let revision = asker(&test).await.revision;
        let issued = |number, request_time| KlfIssued {
            replay_key: [number; 32],
            request_time: time(request_time),
            ..klf_issued(revision)
        };
        for (number, request_time) in [(1, "20260301T110000Z"), (2, "20260301T113000Z")] {
            let completed = complete(&test, number, issued(number, request_time)).await;
            assert_eq!(completed, Completed::Committed);
        }
        let through = time("20260301T112959Z");
        assert_eq!(test.store.prune_replay_marks(through).await.unwrap(), 1);
        assert_eq!(test.store.prune_replay_marks(through).await.unwrap(), 0);
        let after = asker(&test).await;
        assert_eq!(
            after.watermark,
            Some(time("20260301T110000Z")),
            "no later than needed"
        );
        assert_eq!(after.revision, revision);

        let old = issued(1, "20260301T110000Z");
        assert_eq!(complete(&test, 3, old).await, Completed::BasisChanged);
        let young = issued(3, "20260301T110001Z");
        let leased = test.lease(at(999)).await.unwrap();
        let completion = Completion {
            effects: Effects::KlfIssued(young),
            ..completion(at(9), &[])
        };
        let completed = test
            .store
            .complete(&leased.token, completion)
            .await
            .unwrap();
        assert_eq!(completed, Completed::Committed);
    }
}
