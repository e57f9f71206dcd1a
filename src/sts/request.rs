//! `VKLOAD.REQ.1`: a security module asks for its vending keys.

use super::error::RecordError;
use super::fields::{Fields, typed_record};
use super::hexadecimal::Hex;
use super::ident::Ident;
use super::identifier::{KmcId, SmId};
use super::point::PointText;
use super::record::{Record, TypedRecord};
use super::time::StsTime;

/// A vending key load request (STS600-9-2, 5.1.4.4).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VkloadReq {
    /// The module that asks.
    pub(crate) smid: SmId,
    /// The KMC key that the module used.
    pub(crate) kmcid: KmcId,
    /// When the request was made.
    pub(crate) time: StsTime,
    /// The module's hardware id.
    pub(crate) hardware: Ident,
    /// The module's firmware id.
    pub(crate) firmware: Ident,
    /// The module's ephemeral public key, SEC1 uncompressed.
    pub public_key: PointText,
    /// Authenticates all fields before it.
    pub(crate) mac: [u8; 24],
}

impl VkloadReq {
    /// The record's whole text, CRC included. It equals the text that was read,
    /// since a record has only one text.
    pub(crate) fn text(&self) -> String {
        self.to_record().text().to_owned()
    }

    /// The text that the MAC covers: all up to and including the `|` before it.
    pub(crate) fn authenticated_text(&self) -> String {
        let record = self.to_record();
        record.text_before_field(6).unwrap_or_default().to_owned()
    }
}

typed_record!(
    VkloadReq,
    "VKLOAD.REQ.1",
    smid = "SMID",
    kmcid = "KMCID",
    time = "time of the request",
    hardware = "hardware id",
    firmware = "firmware id",
    public_key = "public key",
    mac: Hex = "MAC",
);
