//! The KMC's side: making a key load file.

use thiserror::Error;

use super::keys::{FileKeys, MAXIMUM_KEYS, info};
use crate::kms::curve::{PointError, PrivateKey, PublicPoint};
use crate::kms::dak::Dak;
use crate::kms::vending_key::VendingKey;
use crate::secrets::primitives::WrapError;
use crate::sts::{
    Krn, Record, Sgc, StsTime, TypedRecord as _, VendingKeyAttributes, Vk, VkloadMac, VkloadReq,
    VkloadRsp,
};

/// Why no key load file could be made.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum BuildError {
    /// More than [`MAXIMUM_KEYS`].
    #[error("a key load file holds at most {MAXIMUM_KEYS} vending keys, not {0}")]
    TooManyKeys(usize),
    /// Two vending keys have the same SGC and KRN.
    #[error("there are two vending keys with SGC {0} and KRN {1}")]
    Twice(Sgc, Krn),
    /// The module's key is on another curve than the KMC's.
    #[error(transparent)]
    Point(#[from] PointError),
    /// A key that can't be wrapped.
    #[error(transparent)]
    Wrap(#[from] WrapError),
}

/// Everything that a key load file is made from.
#[derive(Debug)]
pub(crate) struct NewFile<'a> {
    /// The request. Its MAC must be verified already.
    pub(crate) request: &'a VkloadReq,
    /// The module's public point, read from the request.
    pub(crate) module_point: &'a PublicPoint,
    /// The module's Device Authentication Key.
    pub(crate) dak: &'a Dak,
    /// The KMC's private key that the request names.
    pub(crate) kmc_key: &'a PrivateKey,
    /// The vending keys, in any order.
    pub(crate) vending_keys: Vec<(VendingKeyAttributes, VendingKey)>,
    /// When the file is made.
    pub(crate) response_time: StsTime,
    /// 16 random bytes, never used before.
    pub(crate) nonce: [u8; 16],
}

impl NewFile<'_> {
    /// Makes the file.
    ///
    /// # Errors
    /// [`BuildError`]: too many keys, a key twice, or keys on two curves.
    pub(crate) fn build(mut self) -> Result<Vec<Record>, BuildError> {
        self.vending_keys
            .sort_by_key(|(attributes, _)| (attributes.sgc, attributes.krn));
        self.check_keys()?;
        let response = self.response()?;
        let keys = self.keys(&response)?;
        let mut records = vec![response.to_record()];
        for (attributes, key) in &self.vending_keys {
            let wrapped_key = keys.wrap(attributes, key)?;
            records.push(
                Vk {
                    attributes: attributes.clone(),
                    wrapped_key,
                }
                .to_record(),
            );
        }
        let mac = keys.mac(&records);
        records.push(VkloadMac { mac }.to_record());
        Ok(records)
    }

    fn check_keys(&self) -> Result<(), BuildError> {
        if self.vending_keys.len() > MAXIMUM_KEYS {
            return Err(BuildError::TooManyKeys(self.vending_keys.len()));
        }
        let mut pairs = self
            .vending_keys
            .iter()
            .zip(self.vending_keys.iter().skip(1));
        match pairs.find(|((one, _), (next, _))| (one.sgc, one.krn) == (next.sgc, next.krn)) {
            Some(((twice, _), _)) => Err(BuildError::Twice(twice.sgc, twice.krn)),
            None => Ok(()),
        }
    }

    fn response(&self) -> Result<VkloadRsp, BuildError> {
        let count = self.vending_keys.len();
        Ok(VkloadRsp {
            kmcid: self.request.kmcid.clone(),
            smid: self.request.smid.clone(),
            request_time: self.request.time,
            response_time: self.response_time,
            count: u32::try_from(count).map_err(|_| BuildError::TooManyKeys(count))?,
            nonce: self.nonce,
        })
    }

    fn keys(&self, response: &VkloadRsp) -> Result<FileKeys, BuildError> {
        let z = self.kmc_key.agree(self.module_point)?;
        let info = info(self.request, &self.kmc_key.public_point(), response);
        Ok(FileKeys::derive(&z, self.dak, &response.nonce, &info))
    }
}
