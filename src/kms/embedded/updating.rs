//! Module updates (records.md, section 8): turns an update file into the rows to
//! write, all of them or none.

use super::stop::Stop;
use crate::kms::curve::PublicPoint;
use crate::kms::issue::{Effects, KmsError, ModuleChanged, ModulesUpdated, sts_time};
use crate::kms::kmc_keys::KmcKeys;
use crate::kms::rows::{KmcKeyRow, ModuleRow, ModuleState};
use crate::kms::tables::{KmsTables, UpdateBasis};
use crate::kms::update::{self, SignedUpdate, StsaKey, UpdateError, UpdateKey};
use crate::kms::update_answer::{Applied, Update, UpdateQuestion, UpdateRefusal};
use crate::secrets::StorageKey;
use crate::sts::{SmChange, SmEntry, StsTime};

/// Judges update files.
pub(super) struct Updating<'a> {
    pub(super) tables: &'a dyn KmsTables,
    pub(super) storage_key: &'a StorageKey,
    /// The keys whose update files are accepted.
    pub(super) stsa_keys: &'a [StsaKey],
}

impl Updating<'_> {
    /// Judges a file by the tables as they are, and makes the rows to write.
    pub(super) async fn judge(&self, question: &UpdateQuestion) -> Result<Update, KmsError> {
        let now = sts_time(question.now)?;
        let accepted_at = sts_time(question.accepted_at)?;
        let signed = match update::open(&question.file, self.stsa_keys, accepted_at) {
            Ok(signed) => signed,
            Err(error) => return Ok(Update::Refused(refusal(error))),
        };
        let stsa_key = signed.signer.to_text();
        let basis = self.tables.update_basis(&stsa_key).await?;
        if basis.last == Some((signed.first.serial, signed.digest)) {
            return Ok(Update::AlreadyApplied {
                serial: signed.first.serial,
            });
        }
        let judged = self.apply(&signed, &basis, now);
        Ok(match Stop::without_trouble(judged)? {
            Ok(applied) => Update::Applied(Box::new(applied)),
            Err(refusal) => Update::Refused(refusal),
        })
    }

    fn apply(
        &self,
        signed: &SignedUpdate,
        basis: &UpdateBasis,
        now: StsTime,
    ) -> Result<Applied, Stop<UpdateRefusal>> {
        let last = basis.last.map_or(0, |(serial, _)| serial);
        let expected = last
            .checked_add(1)
            .ok_or_else(|| malformed("this key of the STSA's has no serial left"))?;
        if signed.first.serial != expected {
            return Err(Stop::Refused(UpdateRefusal::Serial { expected }));
        }
        let keys = KmcKeys::at(now, &basis.kmc_keys);
        let Some(kmc_key) = keys.serving(&signed.first.kmcid) else {
            let current = keys.required()?.kmcid.clone();
            return Err(Stop::Refused(UpdateRefusal::Kmc { current }));
        };
        let key = self.update_key(signed, kmc_key)?;
        let mut changed = Vec::with_capacity(signed.entries.len());
        for entry in &signed.entries {
            let read = basis.modules.iter().find(|row| row.smid == entry.smid);
            changed.push(self.changed(entry, read, &key)?);
        }
        let names = |state| {
            let rows = changed.iter().map(|change: &ModuleChanged| &change.row);
            rows.filter(move |row| row.state == state)
                .map(|row| row.smid.clone())
                .collect()
        };
        Ok(Applied {
            serial: signed.first.serial,
            signer: signed.signer.fingerprint(),
            added: names(ModuleState::Active),
            revoked: names(ModuleState::Revoked),
            effects: Effects::ModulesUpdated(ModulesUpdated {
                stsa_key: signed.signer.to_text(),
                signer: signed.signer.fingerprint(),
                serial: signed.first.serial,
                digest: signed.digest,
                changed,
                basis: basis.revision,
            }),
        })
    }

    fn update_key(
        &self,
        signed: &SignedUpdate,
        kmc_key: &KmcKeyRow,
    ) -> Result<UpdateKey, Stop<UpdateRefusal>> {
        let point = PublicPoint::read(kmc_key.curve, signed.first.public_key.as_str());
        let point = point.map_err(malformed)?;
        let private_key = kmc_key.open(self.storage_key)?;
        let z = private_key.agree(&point).map_err(malformed)?;
        Ok(UpdateKey::derive(
            &z,
            &private_key.public_point(),
            &signed.first_record,
        ))
    }

    /// Makes the row for one entry of the file.
    fn changed(
        &self,
        entry: &SmEntry,
        read: Option<&ModuleRow>,
        key: &UpdateKey,
    ) -> Result<ModuleChanged, Stop<UpdateRefusal>> {
        let smid = entry.smid.clone();
        let row = match (&entry.change, read) {
            (SmChange::Add { wrapped_dak, sgcs }, _) => {
                let dak = key
                    .unwrap(&smid, wrapped_dak)
                    .map_err(|_| malformed(format!("the wrapped DAK of {smid} does not unwrap")))?;
                let hardware = entry.hardware.clone();
                let (state, sgcs) = (ModuleState::Active, sgcs.clone());
                ModuleRow::seal(self.storage_key, &dak, smid, hardware, state, sgcs)
            }
            (SmChange::Revoke, None) => {
                let unknown = format!("{smid} is to be revoked and is not known");
                return Err(malformed(unknown));
            }
            (SmChange::Revoke, Some(row)) => {
                let dak = row.open(self.storage_key)?;
                let (hardware, sgcs) = (row.hardware.clone(), row.sgcs.clone());
                let state = ModuleState::Revoked;
                ModuleRow::seal(self.storage_key, &dak, smid, hardware, state, sgcs)
            }
        };
        Ok(ModuleChanged {
            read: read.cloned(),
            row: row.map_err(KmsError::from)?,
        })
    }
}

fn refusal(error: UpdateError) -> UpdateRefusal {
    match error {
        UpdateError::Signature(failure) => UpdateRefusal::Signature(failure),
        error => UpdateRefusal::Format(error.to_string()),
    }
}

fn malformed(reason: impl ToString) -> Stop<UpdateRefusal> {
    Stop::Refused(UpdateRefusal::Format(reason.to_string()))
}
