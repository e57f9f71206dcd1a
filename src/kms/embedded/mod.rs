//! The embedded key management system: answers from [`KmsTables`], by the checks of
//! records.md, section 6, in their order.

#[cfg(test)]
mod authenticity_tests;
#[cfg(test)]
mod spellings;
mod stop;
#[cfg(test)]
mod tests;
mod updating;
#[cfg(test)]
mod updating_tests;
#[cfg(test)]
mod world;

use std::sync::Arc;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

use self::stop::Stop;
use self::updating::Updating;
use crate::kms::curve::PublicPoint;
use crate::kms::dak::Dak;
use crate::kms::examination::AlteredRows;
use crate::kms::freshness::KeyLoadFileSettings;
use crate::kms::interface::Kms;
use crate::kms::issue::{
    AuthenticationFailure, Effects, Grant, Issue, IssueQuestion, KlfIssued, KmsError,
    PublicKeyAnswer, Refusal, sts_time,
};
use crate::kms::klf;
use crate::kms::kmc_keys::KmcKeys;
use crate::kms::rows::{KmcKeyRow, ModuleRow, ModuleState, VendingKeyRow};
use crate::kms::tables::{Asker, Issuable, KmsTables, Revision};
use crate::kms::update::StsaKey;
use crate::kms::update_answer::{Update, UpdateQuestion};
use crate::secrets::{
    AssociatedData, DoesNotOpen, RandomError, Sealed, Secret, StorageKey, random_array,
};
use crate::sts::{PkEcdh, Reserved, StsTime, VkloadReq};

/// The key management system whose tables are in this gateway's own store.
pub struct EmbeddedKms {
    tables: Arc<dyn KmsTables>,
    storage_key: StorageKey,
    settings: KeyLoadFileSettings,
    /// The keys whose update files are accepted.
    stsa_keys: Vec<StsaKey>,
    decoy: Decoy,
}

impl EmbeddedKms {
    /// Answers from `tables`, whose rows `storage_key` seals.
    pub fn new(
        tables: Arc<dyn KmsTables>,
        storage_key: StorageKey,
        settings: KeyLoadFileSettings,
    ) -> Result<Self, RandomError> {
        let decoy = Decoy::new(&storage_key)?;
        Ok(Self {
            tables,
            storage_key,
            settings,
            stsa_keys: Vec::new(),
            decoy,
        })
    }

    /// Accepts update files that these keys sign. Without keys, none is accepted.
    pub(crate) fn trusting(self, stsa_keys: Vec<StsaKey>) -> Self {
        Self { stsa_keys, ..self }
    }

    async fn asker(&self, request: &VkloadReq) -> Result<Asker, KmsError> {
        let replay_key = klf::replay_key(&request.smid, &request.public_key);
        Ok(self.tables.asker(&request.smid, &replay_key).await?)
    }

    /// Reads what the module may have, and the former issues that count towards the
    /// limit.
    async fn issuable(&self, question: &IssueQuestion) -> Result<Issuable, KmsError> {
        let began = question.now.checked_sub(self.settings.limit().within);
        let since = Some(began.unwrap_or(Timestamp::MIN));
        let smid = &question.request.smid;
        Ok(self.tables.issuable(smid, since).await?)
    }

    /// Makes the checks in their order; the first that fails decides. The vending
    /// keys are read only after the MAC is verified: otherwise the time taken would
    /// show strangers which modules exist.
    async fn admit(&self, question: &IssueQuestion) -> Result<Admitted, Stop<Refusal>> {
        loop {
            let asker = self.asker(&question.request).await?;
            let authentic = self.check_asker(question, &asker)?;
            let issuable = self.issuable(question).await?;
            // If they differ, somebody changed the tables between the reads.
            if issuable.revision == asker.revision {
                return self.check_issuable(authentic, issuable);
            }
        }
    }

    fn check_asker(
        &self,
        question: &IssueQuestion,
        asker: &Asker,
    ) -> Result<Authentic, Stop<Refusal>> {
        let request = &question.request;
        let now = sts_time(question.now)?;
        self.check_freshness(request, question.accepted_at)?;
        let keys = KmcKeys::at(now, &asker.kmc_keys);
        let Some(kmc_key) = keys.serving(&request.kmcid) else {
            let current = keys.required()?.kmcid.clone();
            return Err(Stop::Refused(Refusal::Kmc { current }));
        };
        let (module, dak) = self.authenticate(request, asker.module.as_ref())?;
        let module_point = PublicPoint::read(kmc_key.curve, request.public_key.as_str())
            .map_err(|error| Stop::Refused(Refusal::PublicKey(error.to_string())))?;
        if is_replayed(request, asker) {
            return Err(Stop::Refused(Refusal::Replayed));
        }
        Ok(Authentic {
            kmc_key: kmc_key.clone(),
            module: module.clone(),
            dak,
            module_point,
            now,
        })
    }

    fn check_issuable(
        &self,
        authentic: Authentic,
        issuable: Issuable,
    ) -> Result<Admitted, Stop<Refusal>> {
        let vending_keys = issued_at(authentic.now, &authentic.module, issuable.vending_keys);
        if vending_keys.is_empty() {
            return Err(Stop::Refused(Refusal::NoVendingKeys));
        }
        self.check_limit(&issuable.issued)?;
        Ok(Admitted {
            authentic,
            vending_keys,
            basis: issuable.revision,
        })
    }

    fn check_freshness(
        &self,
        request: &VkloadReq,
        accepted_at: Timestamp,
    ) -> Result<(), Stop<Refusal>> {
        let now = sts_time(accepted_at)?;
        if self.settings.is_past(request.time, accepted_at) {
            return Err(Stop::Refused(Refusal::Expired { now }));
        }
        if self.settings.is_future(request.time, accepted_at) {
            return Err(Stop::Refused(Refusal::Future { now }));
        }
        Ok(())
    }

    /// `issued` has the times of former issues within the limit's time, ascending.
    fn check_limit(&self, issued: &[Timestamp]) -> Result<(), Stop<Refusal>> {
        let limit = self.settings.limit();
        let place = usize::try_from(limit.at_most.get()).unwrap_or(usize::MAX);
        // When this issue leaves the limit's time, fewer than `at_most` are left.
        let Some(last_too_many) = issued.iter().rev().nth(place - 1) else {
            return Ok(());
        };
        // Records have whole seconds. One is added, because a time too early would
        // not help.
        let second = SignedDuration::from_secs(1);
        let until = last_too_many
            .checked_add(limit.within)
            .and_then(|until| until.checked_add(second))
            .unwrap_or(Timestamp::MAX);
        let until = sts_time(until)?;
        Err(Stop::Refused(Refusal::Limit { until }))
    }

    /// Verifies that a module that may ask made `request`. The work is the same
    /// whatever the answer: for an unknown module, the decoy takes the place of its
    /// DAK. So the time taken does not show which modules exist.
    fn authenticate<'basis>(
        &self,
        request: &VkloadReq,
        module: Option<&'basis ModuleRow>,
    ) -> Result<(&'basis ModuleRow, Dak), Stop<Refusal>> {
        let dak = match module {
            Some(row) => row.open(&self.storage_key)?,
            None => self.decoy.open(&self.storage_key)?,
        };
        let authentic = dak.authenticates(request);
        let failure = match module {
            None => AuthenticationFailure::UnknownModule,
            Some(row) if row.state == ModuleState::Revoked => AuthenticationFailure::Revoked,
            Some(row) if row.hardware != request.hardware => AuthenticationFailure::HardwareId,
            Some(_) if !authentic => AuthenticationFailure::Mac,
            Some(row) => return Ok((row, dak)),
        };
        Err(Stop::Refused(Refusal::Authentication(failure)))
    }

    fn grant(&self, request: &VkloadReq, admitted: &Admitted) -> Result<Grant, KmsError> {
        let Authentic {
            kmc_key,
            dak,
            module_point,
            now,
            ..
        } = &admitted.authentic;
        let mut vending_keys = Vec::with_capacity(admitted.vending_keys.len());
        for row in &admitted.vending_keys {
            vending_keys.push((row.attributes.clone(), row.open(&self.storage_key)?));
        }
        let keys: Vec<_> = vending_keys
            .iter()
            .map(|(key, _)| (key.sgc, key.krn))
            .collect();
        let new_file = klf::NewFile {
            request,
            module_point,
            dak,
            kmc_key: &kmc_key.open(&self.storage_key)?,
            vending_keys,
            response_time: *now,
            nonce: random_array()?,
        };
        let key_load_file = new_file
            .build()
            .map_err(|error| KmsError::Unavailable(error.to_string()))?;
        let effects = Effects::KlfIssued(KlfIssued {
            smid: request.smid.clone(),
            replay_key: klf::replay_key(&request.smid, &request.public_key),
            request_time: request.time,
            keys: keys.clone(),
            limit: Some(self.settings.limit()),
            basis: admitted.basis,
        });
        Ok(Grant {
            key_load_file,
            effects,
            keys,
        })
    }
}

#[async_trait]
impl Kms for EmbeddedKms {
    async fn public_key(&self, now: Timestamp) -> Result<PublicKeyAnswer, KmsError> {
        let rows = self.tables.kmc_keys().await?;
        let row = KmcKeys::at(sts_time(now)?, &rows).required()?;
        // Opening the row makes sure that a key that somebody else put into the
        // table is never handed out.
        let point = row.open(&self.storage_key)?.public_point();
        let record = PkEcdh {
            kmcid: row.kmcid.clone(),
            public_key: point.to_text(),
            expiry: row.expiry,
            reserved: [Reserved::default(), Reserved::default()],
        };
        Ok(PublicKeyAnswer {
            record,
            fingerprint: point.fingerprint(),
        })
    }

    async fn issue(&self, question: &IssueQuestion) -> Result<Issue, KmsError> {
        Ok(match Stop::without_trouble(self.admit(question).await)? {
            Ok(admitted) => {
                let grant = self.grant(&question.request, &admitted)?;
                Issue::Granted(Box::new(grant))
            }
            Err(refusal) => Issue::Refused(refusal),
        })
    }

    async fn foretell(&self, question: &IssueQuestion) -> Result<Option<Refusal>, KmsError> {
        Ok(Stop::without_trouble(self.admit(question).await)?.err())
    }

    async fn is_from_module(&self, request: &VkloadReq, now: Timestamp) -> Result<bool, KmsError> {
        let asker = self.asker(request).await?;
        let judged = self.authenticate(request, asker.module.as_ref());
        let authentic = Stop::without_trouble(judged)?.is_ok();
        let fresh = self.check_freshness(request, now).is_ok();
        Ok(authentic && fresh && !is_replayed(request, &asker))
    }

    async fn update(&self, question: &UpdateQuestion) -> Result<Update, KmsError> {
        let updating = Updating {
            tables: self.tables.as_ref(),
            storage_key: &self.storage_key,
            stsa_keys: &self.stsa_keys,
        };
        updating.judge(question).await
    }

    async fn altered_rows(&self) -> Result<Option<AlteredRows>, KmsError> {
        let altered = AlteredRows::find(self.tables.as_ref(), &self.storage_key).await?;
        Ok(Some(altered))
    }
}

/// A request that a module of this KMC made, and that was not answered before.
struct Authentic {
    kmc_key: KmcKeyRow,
    module: ModuleRow,
    dak: Dak,
    module_point: PublicPoint,
    now: StsTime,
}

/// A request that has passed every check. A key load file is made from nothing else.
struct Admitted {
    authentic: Authentic,
    vending_keys: Vec<VendingKeyRow>,
    basis: Revision,
}

/// A random Device Authentication Key that no module has. It is opened in place of
/// an unknown module's.
struct Decoy(Sealed);

impl Decoy {
    fn new(storage_key: &StorageKey) -> Result<Self, RandomError> {
        let dak = Dak::random()?;
        Ok(Self(
            storage_key.seal(&Self::associated_data(), dak.expose())?,
        ))
    }

    fn open(&self, storage_key: &StorageKey) -> Result<Dak, DoesNotOpen> {
        let row = Self::associated_data();
        let bytes = storage_key.open(&row, &self.0)?;
        Secret::copied_from(bytes.expose())
            .map(Dak::new)
            .ok_or_else(|| row.does_not_open())
    }

    fn associated_data() -> AssociatedData {
        AssociatedData::new("decoy", "")
    }
}

fn is_replayed(request: &VkloadReq, asker: &Asker) -> bool {
    asker.replayed || asker.watermark.is_some_and(|mark| request.time <= mark)
}

/// The keys that `module` may have at `now`: they belong to its supply groups, and
/// neither IUT nor EXP has passed. Ascending by SGC and KRN.
fn issued_at(now: StsTime, module: &ModuleRow, mut rows: Vec<VendingKeyRow>) -> Vec<VendingKeyRow> {
    rows.retain(|row| module.sgcs.contains(&row.attributes.sgc) && row.is_issued_at(now));
    rows.sort_by_key(|row| (row.attributes.sgc, row.attributes.krn));
    rows
}
