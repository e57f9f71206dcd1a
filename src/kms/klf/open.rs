//! The security module's side: opening a key load file.

use thiserror::Error;

use super::keys::{FileKeys, info, prefix};
use crate::kms::curve::{PointError, PrivateKey, PublicPoint};
use crate::kms::dak::Dak;
use crate::kms::vending_key::{VendingKey, VendingKeyError};
use crate::secrets::{
    SecretBytes,
    primitives::{self, WrapError},
};
use crate::sts::{
    Record, RecordError, TypedRecord as _, VendingKeyAttributes, Vk, VkloadMac, VkloadReq,
    VkloadRsp,
};

/// Why a key load file could not be opened.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum OpenError {
    /// Fewer records than a first and a last one.
    #[error("the key load file is cut short")]
    Short,
    /// A record is in the wrong place, or has a wrong field.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The file answers another request.
    #[error("the key load file answers another request")]
    OtherRequest,
    /// The KMC's key is on another curve than the module's.
    #[error(transparent)]
    Point(#[from] PointError),
    /// The file was altered, or not made by this KMC for this module.
    #[error("the MAC of the key load file is wrong")]
    Mac,
    /// The first record states another number of keys.
    #[error("the key load file states {stated} vending keys and holds {found}")]
    Count {
        /// Number in the first record.
        stated: u32,
        /// Number of keys in the file.
        found: usize,
    },
    /// The keys do not ascend by SGC and KRN, or a pair occurs twice.
    #[error("the vending keys are not in the order of SGC and KRN")]
    Order,
    /// A wrapped key doesn't unwrap.
    #[error(transparent)]
    Wrap(#[from] WrapError),
    /// A key was wrapped for other attributes than it is sent with.
    #[error("a vending key was wrapped for another SGC, KRN or KT")]
    Attributes,
    /// A key is not valid for its algorithm.
    #[error(transparent)]
    Key(#[from] VendingKeyError),
}

/// The data with which a module opens the answer to its request.
#[derive(Clone, Copy, Debug)]
pub struct Opener<'a> {
    /// The request that the module sent.
    pub request: &'a VkloadReq,
    /// The private key of the point in the request.
    pub module_key: &'a PrivateKey,
    /// The module's Device Authentication Key.
    pub dak: &'a Dak,
    /// The public key of the KMC that the request names.
    pub kmc_point: &'a PublicPoint,
}

/// The vending keys of a key load file, in the order of the file.
pub(crate) type OpenedKeys = Vec<(VendingKeyAttributes, VendingKey)>;

impl Opener<'_> {
    /// Opens the file. No key is unwrapped before the MAC is verified.
    ///
    /// # Errors
    /// [`OpenError`]: the first fault that is found.
    pub fn open(&self, records: &[Record]) -> Result<OpenedKeys, OpenError> {
        let [first, wrapped @ .., last] = records else {
            return Err(OpenError::Short);
        };
        let response = VkloadRsp::from_record(first)?;
        let VkloadMac { mac } = VkloadMac::from_record(last)?;
        self.check_request(&response)?;
        let keys = self.keys(&response)?;
        let (covered, _) = records.split_at(records.len() - 1);
        if !keys.mac_is_valid(covered, &mac) {
            return Err(OpenError::Mac);
        }
        let wrapped: Vec<Vk> = wrapped
            .iter()
            .map(Vk::from_record)
            .collect::<Result<_, _>>()?;
        check_list(&response, &wrapped)?;
        wrapped.into_iter().map(|vk| keys.unwrap(vk)).collect()
    }

    fn check_request(&self, response: &VkloadRsp) -> Result<(), OpenError> {
        let asked = (&self.request.kmcid, &self.request.smid, self.request.time);
        let answered = (&response.kmcid, &response.smid, response.request_time);
        if asked == answered {
            Ok(())
        } else {
            Err(OpenError::OtherRequest)
        }
    }

    fn keys(&self, response: &VkloadRsp) -> Result<FileKeys, OpenError> {
        let z = self.module_key.agree(self.kmc_point)?;
        let info = info(self.request, self.kmc_point, response);
        Ok(FileKeys::derive(&z, self.dak, &response.nonce, &info))
    }
}

fn check_list(response: &VkloadRsp, wrapped: &[Vk]) -> Result<(), OpenError> {
    if u32::try_from(wrapped.len()) != Ok(response.count) {
        return Err(OpenError::Count {
            stated: response.count,
            found: wrapped.len(),
        });
    }
    let order = |vk: &Vk| (vk.attributes.sgc, vk.attributes.krn);
    if wrapped.is_sorted_by(|one, next| order(one) < order(next)) {
        Ok(())
    } else {
        Err(OpenError::Order)
    }
}

impl FileKeys {
    fn unwrap(&self, vk: Vk) -> Result<(VendingKeyAttributes, VendingKey), OpenError> {
        let Vk {
            attributes,
            wrapped_key,
        } = vk;
        let plain = primitives::unwrap(&self.key_encryption_key, &wrapped_key)?;
        let key = plain
            .expose()
            .strip_prefix(&prefix(&attributes))
            .ok_or(OpenError::Attributes)?;
        let key = VendingKey::new(attributes.dkga, SecretBytes::concatenated(&[key]))?;
        Ok((attributes, key))
    }
}
