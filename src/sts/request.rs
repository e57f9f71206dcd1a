//! `VKLOAD.REQ.1`: a security module asks for its vending keys.

use super::error::RecordError;
use super::fields::Fields;
use super::hexadecimal::Hex;
use super::ident::Ident;
use super::identifier::{KmcId, SmId};
use super::point::PointText;
use super::record::{Record, TypedRecord, covered_text};
use super::time::StsTime;

/// A vending key load request (STS600-9-2, 5.1.4.4).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VkloadReq {
    /// The module that asks.
    pub smid: SmId,
    /// The KMC key that the module used.
    pub kmcid: KmcId,
    /// When the request was made.
    pub time: StsTime,
    /// The module's hardware id.
    pub hardware: Ident,
    /// The module's firmware id.
    pub firmware: Ident,
    /// The module's ephemeral public key, SEC1 uncompressed.
    pub public_key: PointText,
    /// Authenticates all fields before it.
    pub mac: [u8; 24],
}

impl VkloadReq {
    /// The record's whole text, CRC included. It equals the text that was read,
    /// since a record has only one text.
    pub fn text(&self) -> String {
        self.to_record().text().to_owned()
    }

    /// The text that the MAC covers: all up to and including the `|` before it.
    pub fn authenticated_text(&self) -> String {
        covered_text(Self::TYPE, &self.authenticated_fields())
    }

    fn authenticated_fields(&self) -> [String; 6] {
        [
            self.smid.to_string(),
            self.kmcid.to_string(),
            self.time.to_string(),
            self.hardware.to_string(),
            self.firmware.to_string(),
            self.public_key.to_string(),
        ]
    }
}

impl TypedRecord for VkloadReq {
    const TYPE: &'static str = "VKLOAD.REQ.1";

    fn from_record(record: &Record) -> Result<Self, RecordError> {
        let mut fields = Fields::of::<Self>(record, 7)?;
        Ok(Self {
            smid: fields.take("SMID")?,
            kmcid: fields.take("KMCID")?,
            time: fields.take("time of the request")?,
            hardware: fields.take("hardware id")?,
            firmware: fields.take("firmware id")?,
            public_key: fields.take("public key")?,
            mac: fields.take::<Hex<24>>("MAC")?.0,
        })
    }

    fn to_record(&self) -> Record {
        let mut fields = self.authenticated_fields().to_vec();
        fields.push(Hex(self.mac).to_string());
        Record::of_checked_fields(Self::TYPE, &fields)
    }
}
