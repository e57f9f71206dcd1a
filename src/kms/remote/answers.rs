//! Turns answers on the wire into answers of [`Kms`](crate::kms::Kms). Verifies
//! everything that the gateway can verify without a key.

use super::trouble::Trouble;
use super::wire::{Answer, WirePointProblem, WireRefusal, WireUpdateRefusal};
use crate::kms::curve::{Curve, Fingerprint, PointError, PublicPoint};
use crate::kms::issue::{Effects, Grant, Issue, PublicKeyAnswer, Refusal};
use crate::kms::klf;
use crate::kms::update_answer::{Applied, Update, UpdateRefusal};
use crate::sts::{
    Hex, KmcId, Krn, PkEcdh, Record, RecordError, Sgc, SmChange, SmEntry, SmId, SmUpdate, StsTime,
    TypedRecord, Vk, VkloadMac, VkloadReq, VkloadRsp,
};

/// Length in characters of the longest reason that a requester may read.
const LONGEST_REASON: usize = 200;

pub(super) fn public_key(answer: Answer, now: StsTime) -> Result<PublicKeyAnswer, Trouble> {
    let Answer::PublicKey { record } = answer else {
        return Err(another("public-key"));
    };
    let record: PkEcdh = typed(&parse(&record)?)?;
    let text = record.public_key.as_str();
    let curve = Curve::ALL
        .into_iter()
        .find(|curve| text.len() == 2 * curve.point_length())
        .ok_or_else(|| Trouble::unfit("the public key is of neither curve"))?;
    let point = PublicPoint::read(curve, text).map_err(Trouble::unfit)?;
    if record.expiry <= now {
        let expired = format!("the public key expired at {}", record.expiry);
        return Err(Trouble::unfit(expired));
    }
    Ok(PublicKeyAnswer {
        fingerprint: point.fingerprint(),
        record,
    })
}

/// `asked_at` is the time at which freshness is judged.
pub(super) fn issue(
    answer: Answer,
    request: &VkloadReq,
    asked_at: StsTime,
) -> Result<Issue, Trouble> {
    match answer {
        Answer::Granted { key_load_file } => {
            let grant = grant(&key_load_file, request)?;
            Ok(Issue::Granted(Box::new(grant)))
        }
        Answer::Refused { refusal } => Ok(Issue::Refused(refused(refusal, request, asked_at)?)),
        _ => Err(another("granted or refused")),
    }
}

pub(super) fn foretold(
    answer: Answer,
    request: &VkloadReq,
    asked_at: StsTime,
) -> Result<Option<Refusal>, Trouble> {
    match answer {
        Answer::WouldGrant => Ok(None),
        Answer::Refused { refusal } => Ok(Some(refused(refusal, request, asked_at)?)),
        _ => Err(another("would-grant or refused")),
    }
}

pub(super) fn is_from_module(answer: Answer) -> Result<bool, Trouble> {
    match answer {
        Answer::FromModule { from_module } => Ok(from_module),
        _ => Err(another("from-module")),
    }
}

/// Verifies that the file is for this very request. Only the module can verify the
/// MAC of the file.
fn grant(texts: &[String], request: &VkloadReq) -> Result<Grant, Trouble> {
    let records = texts
        .iter()
        .map(|text| parse(text))
        .collect::<Result<Vec<Record>, Trouble>>()?;
    let [first, vending_keys @ .., last] = records.as_slice() else {
        return Err(Trouble::unfit("the key load file is cut short"));
    };
    let response: VkloadRsp = typed(first)?;
    typed::<VkloadMac>(last)?;
    for (what, found, expected) in [
        ("SMID", response.smid.to_string(), request.smid.to_string()),
        (
            "KMCID",
            response.kmcid.to_string(),
            request.kmcid.to_string(),
        ),
        (
            "request of",
            response.request_time.to_string(),
            request.time.to_string(),
        ),
    ] {
        if found != expected {
            let other = format!("the key load file is for the {what} {found}, not {expected}");
            return Err(Trouble::unfit(other));
        }
    }
    Ok(Grant {
        keys: keys(vending_keys, response.count)?,
        key_load_file: records,
        // The other side keeps history and replay marks. For it, the file was
        // issued when it answered.
        effects: Effects::None,
    })
}

/// SGC and KRN of the vending keys in a file: at least one, ascending, no pair
/// twice.
fn keys(records: &[Record], count: u32) -> Result<Vec<(Sgc, Krn)>, Trouble> {
    let keys = records
        .iter()
        .map(|record| typed::<Vk>(record).map(|key| (key.attributes.sgc, key.attributes.krn)))
        .collect::<Result<Vec<_>, Trouble>>()?;
    if keys.is_empty() || keys.len() > klf::MAXIMUM_KEYS || u32::try_from(keys.len()) != Ok(count) {
        return Err(Trouble::unfit(format!(
            "the key load file states {count} vending keys and has {}",
            keys.len()
        )));
    }
    if !keys.is_sorted_by(|one, next| one < next) {
        let order = "the vending keys are not in the order of SGC and KRN, each once";
        return Err(Trouble::unfit(order));
    }
    Ok(keys)
}

fn refused(
    refusal: WireRefusal,
    request: &VkloadReq,
    asked_at: StsTime,
) -> Result<Refusal, Trouble> {
    Ok(match refusal {
        WireRefusal::Expired => Refusal::Expired { now: asked_at },
        WireRefusal::Future => Refusal::Future { now: asked_at },
        WireRefusal::Kmc { current } => Refusal::Kmc {
            current: another_key(&current, &request.kmcid)?,
        },
        WireRefusal::Authentication { failure } => Refusal::Authentication(failure),
        WireRefusal::PublicKey { problem, curve } => {
            let curve: Curve = curve.parse().map_err(Trouble::unfit)?;
            let problem = match problem {
                WirePointProblem::Length => PointError::Length { curve },
                WirePointProblem::Form => PointError::Form,
                WirePointProblem::Digits => PointError::Digits,
                WirePointProblem::OffCurve => PointError::OffCurve { curve },
            };
            Refusal::PublicKey(problem.to_string())
        }
        WireRefusal::Replayed => Refusal::Replayed,
        WireRefusal::NoVendingKeys => Refusal::NoVendingKeys,
        WireRefusal::Limit { until } => Refusal::Limit {
            until: time_after(&until, asked_at)?,
        },
    })
}

/// The content of an update file, for comparison and for the reply.
struct StatedUpdate {
    first: SmUpdate,
    entries: Vec<SmEntry>,
}

impl StatedUpdate {
    /// Reads all records but the last, the signature.
    fn read(records: &[Record]) -> Result<Self, Trouble> {
        let [first, entries @ .., _] = records else {
            return Err(Trouble::unfit("the update file is cut short"));
        };
        Ok(Self {
            first: typed(first)?,
            entries: entries.iter().map(typed).collect::<Result<_, _>>()?,
        })
    }

    fn changed(&self, is_added: bool) -> Vec<SmId> {
        self.entries
            .iter()
            .filter(|entry| matches!(entry.change, SmChange::Add { .. }) == is_added)
            .map(|entry| entry.smid.clone())
            .collect()
    }
}

/// Takes the added and revoked modules from the file itself.
pub(super) fn update(answer: Answer, file: &[Record]) -> Result<Update, Trouble> {
    match answer {
        Answer::Applied { serial, signer } => {
            let stated = stated(file, serial)?;
            let Hex(signer) = signer.parse().map_err(Trouble::unfit)?;
            Ok(Update::Applied(Box::new(Applied {
                serial,
                signer: Fingerprint::from_bytes(signer),
                added: stated.changed(true),
                revoked: stated.changed(false),
                effects: Effects::None,
            })))
        }
        Answer::AlreadyApplied { serial } => {
            stated(file, serial)?;
            Ok(Update::AlreadyApplied { serial })
        }
        Answer::UpdateRefused { refusal } => Ok(Update::Refused(update_refused(refusal, file)?)),
        _ => Err(another("applied, already-applied or update-refused")),
    }
}

fn stated(file: &[Record], serial: u32) -> Result<StatedUpdate, Trouble> {
    let stated = StatedUpdate::read(file)?;
    if stated.first.serial == serial {
        return Ok(stated);
    }
    Err(Trouble::unfit(format!(
        "the serial is {serial}, and that of the file {}",
        stated.first.serial
    )))
}

fn update_refused(refusal: WireUpdateRefusal, file: &[Record]) -> Result<UpdateRefusal, Trouble> {
    Ok(match refusal {
        WireUpdateRefusal::Format { reason } => UpdateRefusal::Format(for_requester(reason)?),
        WireUpdateRefusal::Signature { failure } => UpdateRefusal::Signature(failure),
        WireUpdateRefusal::Serial { expected } => UpdateRefusal::Serial { expected },
        WireUpdateRefusal::Kmc { current } => UpdateRefusal::Kmc {
            current: another_key(&current, &StatedUpdate::read(file)?.first.kmcid)?,
        },
    })
}

/// Verifies that a reason may stand in a reply.
fn for_requester(reason: String) -> Result<String, Trouble> {
    let is_fit = |character| matches!(character, ' '..='~');
    match reason.len() {
        1..=LONGEST_REASON if reason.chars().all(is_fit) => Ok(reason),
        _ => Err(Trouble::unfit(
            "a reason for the requester must be 1 to 200 characters of printable ASCII",
        )),
    }
}

/// Reads the KMCID of the key to use instead of `used`.
fn another_key(current: &str, used: &KmcId) -> Result<KmcId, Trouble> {
    let current: KmcId = current.parse().map_err(Trouble::unfit)?;
    if current == *used {
        let itself = format!("{used} is refused, and named as the key to use");
        return Err(Trouble::unfit(itself));
    }
    Ok(current)
}

/// Reads a time after `asked_at`.
fn time_after(text: &str, asked_at: StsTime) -> Result<StsTime, Trouble> {
    let time: StsTime = text.parse().map_err(Trouble::unfit)?;
    if time <= asked_at {
        let past = format!("a new attempt is put off until {time}, which has passed");
        return Err(Trouble::unfit(past));
    }
    Ok(time)
}

fn parse(text: &str) -> Result<Record, Trouble> {
    Record::parse(text).map_err(Trouble::unfit)
}

fn typed<R: TypedRecord>(record: &Record) -> Result<R, Trouble> {
    R::from_record(record).map_err(|error: RecordError| Trouble::unfit(error))
}

fn another(expected: &str) -> Trouble {
    Trouble::unfit(format!("it should be {expected}"))
}
