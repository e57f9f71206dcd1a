//! The records of a key load file, all of this project's profile.

use super::error::RecordError;
use super::fields::Fields;
use super::hexadecimal::Hex;
use super::identifier::{KmcId, SmId};
use super::number::Decimal;
use super::record::{Record, TypedRecord, covered_text};
use super::time::StsTime;
use super::vending_key::{Dkga, VendingKeyAttributes};

/// `X.VKLOAD.RSP.1`: begins a key load file and names the request that it answers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VkloadRsp {
    /// The KMC key that the request used.
    pub kmcid: KmcId,
    /// The module that the file is for.
    pub smid: SmId,
    /// The time that the request states.
    pub request_time: StsTime,
    /// When the file was made.
    pub response_time: StsTime,
    /// How many vending keys follow.
    pub count: u32,
    /// The salt of the file's keys.
    pub nonce: [u8; 16],
}

impl VkloadRsp {
    /// The text up to and including the `|` before the nonce. The file's keys
    /// are derived from it.
    pub fn text_before_nonce(&self) -> String {
        covered_text(Self::TYPE, &self.fields_before_nonce())
    }

    fn fields_before_nonce(&self) -> [String; 5] {
        [
            self.kmcid.to_string(),
            self.smid.to_string(),
            self.request_time.to_string(),
            self.response_time.to_string(),
            self.count.to_string(),
        ]
    }
}

impl TypedRecord for VkloadRsp {
    const TYPE: &'static str = "X.VKLOAD.RSP.1";

    fn from_record(record: &Record) -> Result<Self, RecordError> {
        let mut fields = Fields::of::<Self>(record, 6)?;
        Ok(Self {
            kmcid: fields.take("KMCID")?,
            smid: fields.take("SMID")?,
            request_time: fields.take("time of the request")?,
            response_time: fields.take("time of the response")?,
            count: fields.take::<Decimal<u32>>("count")?.0,
            nonce: fields.take::<Hex<16>>("nonce")?.0,
        })
    }

    fn to_record(&self) -> Record {
        let mut fields = self.fields_before_nonce().to_vec();
        fields.push(Hex(self.nonce).to_string());
        Record::of_checked_fields(Self::TYPE, &fields)
    }
}

/// `X.VK.1`: one vending key, wrapped.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Vk {
    /// The attributes, in clear.
    pub attributes: VendingKeyAttributes,
    /// The key and the attributes that are bound to it, wrapped.
    pub wrapped_key: Vec<u8>,
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
    pub mac: [u8; 24],
}

impl TypedRecord for VkloadMac {
    const TYPE: &'static str = "X.VKLOAD.MAC.1";

    fn from_record(record: &Record) -> Result<Self, RecordError> {
        let mut fields = Fields::of::<Self>(record, 1)?;
        Ok(Self {
            mac: fields.take::<Hex<24>>("MAC")?.0,
        })
    }

    fn to_record(&self) -> Record {
        Record::of_checked_fields(Self::TYPE, &[Hex(self.mac).to_string()])
    }
}
