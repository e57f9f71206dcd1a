//! The registration of a module, which its maker hands to the KMC: SMID, hardware
//! id and DAK in a JSON file. The file is secret.

use std::path::Path;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{CommandError, input};
use crate::{
    kms::Dak,
    secrets::Secret,
    sts::{Ident, SmId},
};

/// More than the JSON of any registration.
const ROOM: usize = 4096;

pub(super) struct Registration {
    pub(super) smid: SmId,
    pub(super) hardware: Ident,
    pub(super) dak: Dak,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RegistrationText {
    smid: String,
    hardware: String,
    dak: Zeroizing<String>,
}

impl Registration {
    /// Reads a file with the content of [`Registration::json`].
    pub(super) fn read(path: &Path) -> Result<Self, CommandError> {
        let wrong = |problem: String| {
            let wrong = format!("not the registration of a module: {problem}");
            CommandError::at(path, wrong + "; give the file that sm init wrote")
        };
        let bytes = input::read_secret(path)?;
        // serde_json's message is left out: it may quote the DAK.
        let text: RegistrationText = serde_json::from_slice(&bytes).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            wrong(format!(
                "not JSON as expected at line {line}, column {column}"
            ))
        })?;
        let dak = Secret::from_hex(&text.dak)
            .ok_or_else(|| wrong("dak is not 64 hex digits".to_owned()))?;
        Ok(Self {
            smid: text
                .smid
                .parse()
                .map_err(|error| wrong(format!("smid: {error}")))?,
            hardware: text
                .hardware
                .parse()
                .map_err(|error| wrong(format!("hardware: {error}")))?,
            dak: Dak::new(dak),
        })
    }

    /// The content of a registration file.
    pub(super) fn json(
        smid: &SmId,
        hardware: &Ident,
        dak: &Dak,
    ) -> Result<Zeroizing<Vec<u8>>, CommandError> {
        let text = RegistrationText {
            smid: smid.to_string(),
            hardware: hardware.to_string(),
            dak: Zeroizing::new(hex::encode_upper(dak.expose())),
        };
        // Never grows: growing would leave a copy of the DAK behind.
        let mut json = Zeroizing::new(Vec::with_capacity(ROOM));
        serde_json::to_writer_pretty(&mut *json, &text).map_err(CommandError::other)?;
        Ok(json)
    }
}
