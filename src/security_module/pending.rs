//! A request, and the keys that open its answer.

use crate::kms::klf::{OpenError, OpenedKeys, Opener};
use crate::kms::{Curve, Dak, PointError, PrivateKey, PublicPoint};
use crate::sts::{PkEcdh, Record, StsTime, VkloadReq, VkloadRsp};

use super::error::{ModuleError, StateError};
use super::identity::Identity;

/// A request for which no key load file has been opened.
#[derive(Debug)]
pub(super) struct Pending {
    request: VkloadReq,
    kmc_key: PkEcdh,
    kmc_point: PublicPoint,
    private_key: PrivateKey,
}

impl Pending {
    /// Makes a request with a fresh ephemeral key pair.
    pub(super) fn new(
        identity: &Identity,
        dak: &Dak,
        kmc_key: PkEcdh,
        now: StsTime,
    ) -> Result<Self, ModuleError> {
        if kmc_key.expiry <= now {
            return Err(ModuleError::KeyExpired {
                expiry: kmc_key.expiry,
            });
        }
        let kmc_point = read_point(&kmc_key).map_err(ModuleError::PublicKey)?;
        let private_key = PrivateKey::generate(kmc_point.curve())?;
        let mut request = VkloadReq {
            smid: identity.smid.clone(),
            kmcid: kmc_key.kmcid.clone(),
            time: now,
            hardware: identity.hardware.clone(),
            firmware: identity.firmware.clone(),
            public_key: private_key.public_point().to_text(),
            mac: [0; 24],
        };
        request.mac = dak.request_mac(&request.authenticated_text());
        Ok(Self {
            request,
            kmc_key,
            kmc_point,
            private_key,
        })
    }

    /// Restores a request from the parts in a state file.
    pub(super) fn restore(
        request: VkloadReq,
        kmc_key: PkEcdh,
        scalar: &[u8],
    ) -> Result<Self, StateError> {
        let kmc_point = read_point(&kmc_key)?;
        let private_key = PrivateKey::from_scalar(kmc_point.curve(), scalar)?;
        Ok(Self {
            request,
            kmc_key,
            kmc_point,
            private_key,
        })
    }

    pub(super) fn request(&self) -> &VkloadReq {
        &self.request
    }

    pub(super) fn kmc_key(&self) -> &PkEcdh {
        &self.kmc_key
    }

    pub(super) fn private_key(&self) -> &PrivateKey {
        &self.private_key
    }

    /// Whether `response` names this request. Only the file's MAC distinguishes
    /// two requests of the same second.
    pub(super) fn is_named_by(&self, response: &VkloadRsp) -> bool {
        let asked = (&self.request.smid, &self.request.kmcid, self.request.time);
        asked == (&response.smid, &response.kmcid, response.request_time)
    }

    /// Opens the key load file of `records`.
    pub(super) fn open(&self, dak: &Dak, records: &[Record]) -> Result<OpenedKeys, OpenError> {
        let Self {
            request,
            kmc_point,
            private_key: module_key,
            ..
        } = self;
        Opener {
            request,
            module_key,
            dak,
            kmc_point,
        }
        .open(records)
    }
}

/// The point of `key`. Its length shows the curve. A key of another length is
/// read as P-384, the curve of the standard's examples.
fn read_point(key: &PkEcdh) -> Result<PublicPoint, PointError> {
    let text = key.public_key.as_str();
    let is_p256 = text.len() == 2 * Curve::P256.point_length();
    PublicPoint::read(if is_p256 { Curve::P256 } else { Curve::P384 }, text)
}
