//! Module updates (records.md, section 8): turns an update file into the rows to
//! write, all of them or none.

use super::{EmbeddedKms, Stop, no_active_key, serving_key, sts_time};
use crate::kms::curve::PublicPoint;
use crate::kms::issue::{Effects, KmsError, ModuleChanged, ModulesUpdated};
use crate::kms::kmc_keys::KmcKeys;
use crate::kms::rows::{KmcKeyRow, ModuleRow, ModuleState};
use crate::kms::tables::UpdateBasis;
use crate::kms::update::{self, SignedUpdate, UpdateError, UpdateKey};
use crate::kms::update_answer::{Applied, Update, UpdateQuestion, UpdateRefusal};
use crate::sts::{SmChange, SmEntry, StsTime};

impl EmbeddedKms {
    /// Judges a file by the tables as they are, and makes the rows to write.
    pub(super) async fn judge_update(&self, question: &UpdateQuestion) -> Result<Update, KmsError> {
        let now = sts_time(question.now)?;
        let accepted_at = sts_time(question.accepted_at)?;
        let signed = match update::open(&question.file, &self.stsa_keys, accepted_at) {
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
        match self.apply(&signed, &basis, now) {
            Ok(applied) => Ok(Update::Applied(Box::new(applied))),
            Err(StopUpdate::Refused(refusal)) => Ok(Update::Refused(refusal)),
            Err(StopUpdate::Trouble(error)) => Err(error),
        }
    }

    fn apply(
        &self,
        signed: &SignedUpdate,
        basis: &UpdateBasis,
        now: StsTime,
    ) -> Result<Applied, StopUpdate> {
        let last = basis.last.map_or(0, |(serial, _)| serial);
        let expected = last.checked_add(1).ok_or(UpdateRefusal::Format(
            "this key of the STSA's has no serial left".to_owned(),
        ))?;
        if signed.first.serial != expected {
            return Err(UpdateRefusal::Serial { expected }.into());
        }
        let kmc_key = self.addressed_key(signed, basis, now)?;
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

    /// The KMC key that the file was made for, if it serves.
    fn addressed_key<'basis>(
        &self,
        signed: &SignedUpdate,
        basis: &'basis UpdateBasis,
        now: StsTime,
    ) -> Result<&'basis KmcKeyRow, StopUpdate> {
        let keys = KmcKeys::at(now, &basis.kmc_keys);
        match serving_key(&signed.first.kmcid, keys) {
            Ok(row) => Ok(row),
            Err(Stop::Trouble(error)) => Err(error.into()),
            Err(Stop::Refused(_)) => {
                let current = keys.active().ok_or_else(no_active_key)?;
                Err(UpdateRefusal::Kmc {
                    current: current.kmcid.clone(),
                }
                .into())
            }
        }
    }

    fn update_key(
        &self,
        signed: &SignedUpdate,
        kmc_key: &KmcKeyRow,
    ) -> Result<UpdateKey, StopUpdate> {
        let point = PublicPoint::read(kmc_key.curve, signed.first.public_key.as_str());
        let point = point.map_err(|error| UpdateRefusal::Format(error.to_string()))?;
        let private_key = kmc_key.open(&self.storage_key).map_err(KmsError::from)?;
        let z = private_key
            .agree(&point)
            .map_err(|error| UpdateRefusal::Format(error.to_string()))?;
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
    ) -> Result<ModuleChanged, StopUpdate> {
        let smid = entry.smid.clone();
        let row = match (&entry.change, read) {
            (SmChange::Add { wrapped_dak, sgcs }, _) => {
                let dak = key.unwrap(&smid, wrapped_dak).map_err(|_| {
                    UpdateRefusal::Format(format!("the wrapped DAK of {smid} does not unwrap"))
                })?;
                let hardware = entry.hardware.clone();
                let (state, sgcs) = (ModuleState::Active, sgcs.clone());
                ModuleRow::seal(&self.storage_key, &dak, smid, hardware, state, sgcs)
            }
            (SmChange::Revoke, None) => {
                let unknown = format!("{smid} is to be revoked and is not known");
                return Err(UpdateRefusal::Format(unknown).into());
            }
            (SmChange::Revoke, Some(row)) => {
                let dak = row.open(&self.storage_key).map_err(KmsError::from)?;
                let (hardware, sgcs) = (row.hardware.clone(), row.sgcs.clone());
                let state = ModuleState::Revoked;
                ModuleRow::seal(&self.storage_key, &dak, smid, hardware, state, sgcs)
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

/// Why a file is not applied.
enum StopUpdate {
    Refused(UpdateRefusal),
    Trouble(KmsError),
}

impl From<UpdateRefusal> for StopUpdate {
    fn from(refusal: UpdateRefusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<KmsError> for StopUpdate {
    fn from(error: KmsError) -> Self {
        Self::Trouble(error)
    }
}
