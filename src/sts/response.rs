//! The records of a key load file, all of this project's profile.

use super::error::RecordError;
use super::fields::{Fields, typed_record};
use super::hexadecimal::Hex;
use super::identifier::{KmcId, SmId};
use super::number::Decimal;
use super::record::{Record, TypedRecord};
use super::time::StsTime;
use super::vending_key::{Dkga, VendingKeyAttributes};

/// `X.VKLOAD.RSP.1`: begins a key load file and names the request that it answers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VkloadRsp {
    /// The KMC key that the request used.
    pub(crate) kmcid: KmcId,
    /// The module that the file is for.
    pub(crate) smid: SmId,
    /// The time that the request states.
    pub(crate) request_time: StsTime,
    /// When the file was made.
    pub(crate) response_time: StsTime,
    /// How many vending keys follow.
    pub(crate) count: u32,
    /// The salt of the file's keys.
    pub(crate) nonce: [u8; 16],
}

impl VkloadRsp {
    /// The text up to and including the `|` before the nonce. The file's keys
    /// are derived from it.
    pub(crate) fn text_before_nonce(&self) -> String {
        let record = self.to_record();
        record.text_before_field(5).unwrap_or_default().to_owned()
    }
}

typed_record!(
    VkloadRsp,
    "X.VKLOAD.RSP.1",
    kmcid = "KMCID",
    smid = "SMID",
    request_time = "time of the request",
    response_time = "time of the response",
    count: Decimal = "count",
    nonce: Hex = "nonce",
);

/// `X.VK.1`: one vending key, wrapped.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Vk {
    /// The attributes, in clear.
    pub(crate) attributes: VendingKeyAttributes,
    /// The key and the attributes that are bound to it, wrapped.
    pub(crate) wrapped_key: Vec<u8>,
}

impl TypedRecord for Vk {
    const TYPE: &'static str = "X.VK.1";

    fn from_record(record: &Record) -> Result<Self, RecordError> {
        let mut fields = Fields::of::<Self>(record, 11)?;
        let attributes = VendingKeyAttributes::take(&mut fields)?;
        // Key, KRN, KT and SGC, padded to whole blocks of 8 bytes, and one more
        // block (RFC 5649, 4.1).
        let wrapped_key = match attributes.dkga {
            Dkga::D01 | Dkga::D02 => fields.take::<Hex<24>>("wrapped key")?.0.to_vec(),
            Dkga::D04 => fields.take::<Hex<40>>("wrapped key")?.0.to_vec(),
        };
        Ok(Self {
            attributes,
            wrapped_key,
        })
    }

    fn to_record(&self) -> Record {
        let mut fields = self.attributes.to_fields().to_vec();
        fields.push(hex::encode_upper(&self.wrapped_key));
        Record::of_checked_fields(Self::TYPE, &fields)
    }
}

/// `X.VKLOAD.MAC.1`: ends a key load file and authenticates it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VkloadMac {
    /// The MAC over all records before.
    pub(crate) mac: [u8; 24],
}

typed_record!(VkloadMac, "X.VKLOAD.MAC.1", mac: Hex = "MAC");
