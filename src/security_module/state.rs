//! The state of a security module, and its text as JSON.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::kms::klf::OpenedKeys;
use crate::sts::{FieldError, Record, TypedRecord, VkloadRsp, file};
use crate::{kms::Dak, secrets::Secret};

use super::error::{ModuleError, StateError};
use super::identity::Identity;
use super::pending::Pending;

/// Room for the JSON of one pending request.
const PENDING_LENGTH: usize = 4096;

/// The whole state of a module.
#[derive(Debug)]
pub(super) struct State {
    pub(super) identity: Identity,
    pub(super) dak: Dak,
    pub(super) pending: Vec<Pending>,
}

/// The state as JSON.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct StateText {
    smid: String,
    hardware: String,
    firmware: String,
    dak: Zeroizing<String>,
    pending: Vec<PendingText>,
}

/// A pending request as JSON: two records and a private key in hex.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct PendingText {
    request: String,
    kmc_key: String,
    private_key: Zeroizing<String>,
}

impl State {
    /// Opens a key load file with the pending request that it answers. Also
    /// returns the index of that request.
    pub(super) fn open(&self, records: &[Record]) -> Result<(usize, OpenedKeys), ModuleError> {
        let response = self.response(records)?;
        let mut refusal = ModuleError::NoRequest {
            request_time: response.request_time,
        };
        for (index, pending) in self.pending.iter().enumerate() {
            if pending.is_named_by(&response) {
                match pending.open(&self.dak, records) {
                    Ok(opened) => return Ok((index, opened)),
                    Err(error) => refusal = ModuleError::Open(error),
                }
            }
        }
        Err(refusal)
    }

    fn response(&self, records: &[Record]) -> Result<VkloadRsp, ModuleError> {
        let first = records.first().ok_or(file::FileError::Empty)?;
        let response = VkloadRsp::from_record(first).map_err(ModuleError::Response)?;
        if response.smid != self.identity.smid {
            return Err(ModuleError::OtherModule {
                found: response.smid,
            });
        }
        Ok(response)
    }

    pub(super) fn to_json(&self) -> Result<Zeroizing<Vec<u8>>, ModuleError> {
        // Reserves the room at once, as a growing vector leaves copies of secrets.
        let room = PENDING_LENGTH * (1 + self.pending.len());
        let mut json = Zeroizing::new(Vec::with_capacity(room));
        serde_json::to_writer_pretty(&mut *json, &self.to_text())
            .map_err(ModuleError::Serialisation)?;
        json.push(b'\n');
        Ok(json)
    }

    pub(super) fn from_json(json: &[u8]) -> Result<Self, StateError> {
        let text: StateText = serde_json::from_slice(json).map_err(|error| StateError::Json {
            line: error.line(),
            column: error.column(),
        })?;
        let identity = Identity {
            smid: field("smid", &text.smid)?,
            hardware: field("hardware", &text.hardware)?,
            firmware: field("firmware", &text.firmware)?,
        };
        let dak = Secret::from_hex(&text.dak).ok_or(StateError::Secret { name: "dak" })?;
        let pending = text
            .pending
            .iter()
            .map(PendingText::restore)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            identity,
            dak: Dak::new(dak),
            pending,
        })
    }

    fn to_text(&self) -> StateText {
        StateText {
            smid: self.identity.smid.to_string(),
            hardware: self.identity.hardware.to_string(),
            firmware: self.identity.firmware.to_string(),
            dak: secret_text(self.dak.expose()),
            pending: self.pending.iter().map(PendingText::of).collect(),
        }
    }
}

impl PendingText {
    fn of(pending: &Pending) -> Self {
        Self {
            request: pending.request().text(),
            kmc_key: pending.kmc_key().to_record().text().to_owned(),
            private_key: secret_text(pending.private_key().to_scalar().expose()),
        }
    }

    fn restore(&self) -> Result<Pending, StateError> {
        // Uses a vector of the right length, as a growing one leaves copies of
        // the secret.
        let mut scalar = Zeroizing::new(vec![0; self.private_key.len() / 2]);
        hex::decode_to_slice(&*self.private_key, &mut scalar).map_err(|_| StateError::Secret {
            name: "private_key",
        })?;
        Pending::restore(record(&self.request)?, record(&self.kmc_key)?, &scalar)
    }
}

fn secret_text(bytes: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(hex::encode_upper(bytes))
}

fn field<T: FromStr<Err = FieldError>>(name: &'static str, text: &str) -> Result<T, StateError> {
    text.parse()
        .map_err(|source| StateError::Field { name, source })
}

fn record<T: TypedRecord>(text: &str) -> Result<T, StateError> {
    Ok(T::from_record(&Record::parse(text)?)?)
}
