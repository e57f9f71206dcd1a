//! Compares the functions that the gateway and the security module use with the
//! project's vectors, which another program made.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use serde::Deserialize;

use super::build::BuildError;
use super::keys::{FileKeys, info};
use super::*;
use crate::kms::curve::{PrivateKey, PublicPoint};
use crate::kms::dak::Dak;
use crate::kms::vending_key::VendingKey;
use crate::secrets::{Secret, assert_debug_hides};
use crate::sts::{
    PkEcdh, Record, TypedRecord as _, VendingKeyAttributes, VkloadMac, VkloadReq, VkloadRsp,
};

#[derive(Deserialize)]
pub(super) struct Vector {
    curve: String,
    kmc_private: String,
    kmc_public: String,
    fingerprint: String,
    pk_record: String,
    module_private: String,
    dak: String,
    k_req: String,
    k_dak: String,
    request: String,
    nonce: String,
    z: String,
    info: String,
    kek: String,
    mac_key: String,
    pub(super) vending_keys: Vec<Key>,
    klf: Vec<String>,
}

#[derive(Deserialize)]
pub(super) struct Key {
    sgc: String,
    krn: u8,
    kt: u8,
    ken: u8,
    bdt: String,
    dkga: String,
    act: String,
    iut: String,
    ulm: String,
    clm: String,
    key: String,
    kcv: String,
}

impl Key {
    pub(super) fn read(&self) -> (VendingKeyAttributes, VendingKey) {
        let attributes = VendingKeyAttributes {
            sgc: self.sgc.parse().unwrap(),
            krn: self.krn.to_string().parse().unwrap(),
            kt: self.kt.to_string().parse().unwrap(),
            ken: self.ken,
            bdt: self.bdt.parse().unwrap(),
            dkga: self.dkga.parse().unwrap(),
            act: self.act.parse().unwrap(),
            iut: (!self.iut.is_empty()).then(|| self.iut.parse().unwrap()),
            ulm: u32::from_str_radix(&self.ulm, 16).unwrap(),
            clm: u32::from_str_radix(&self.clm, 16).unwrap(),
        };
        let key = VendingKey::from_hex(attributes.dkga, &self.key).unwrap();
        (attributes, key)
    }
}

/// The two sides of the exchange in a vector.
pub(super) struct Exchange {
    pub(super) kmc_key: PrivateKey,
    pub(super) module_key: PrivateKey,
    pub(super) dak: Dak,
    pub(super) request: VkloadReq,
    pub(super) response: VkloadRsp,
    pub(super) file: Vec<Record>,
}

impl Exchange {
    fn new(vector: &Vector) -> Self {
        let curve = vector.curve.parse().unwrap();
        let private = |text| PrivateKey::from_scalar(curve, &hex::decode(text).unwrap()).unwrap();
        let file: Vec<_> = vector
            .klf
            .iter()
            .map(|text| Record::parse(text).unwrap())
            .collect();
        Self {
            kmc_key: private(&vector.kmc_private),
            module_key: private(&vector.module_private),
            dak: Dak::new(Secret::from_hex(&vector.dak).unwrap()),
            request: VkloadReq::from_record(&Record::parse(&vector.request).unwrap()).unwrap(),
            response: VkloadRsp::from_record(&file[0]).unwrap(),
            file,
        }
    }

    pub(super) fn all() -> Vec<(Vector, Self)> {
        let vectors: Vec<Vector> =
            serde_json::from_str(include_str!("../../../integration/vectors/vectors.json"))
                .unwrap();
        let curves: Vec<_> = vectors.iter().map(|vector| vector.curve.as_str()).collect();
        assert_eq!(curves, ["P-384", "P-256"]);
        vectors
            .into_iter()
            .map(|vector| {
                let exchange = Self::new(&vector);
                (vector, exchange)
            })
            .collect()
    }

    pub(super) fn open(&self, records: &[Record]) -> Result<OpenedKeys, OpenError> {
        let kmc_point = &self.kmc_key.public_point();
        let Self {
            module_key,
            dak,
            request,
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

    pub(super) fn try_build(
        &self,
        vending_keys: Vec<(VendingKeyAttributes, VendingKey)>,
    ) -> Result<Vec<Record>, BuildError> {
        let point = self.request.public_key.as_str();
        let new_file = NewFile {
            request: &self.request,
            module_point: &PublicPoint::read(self.kmc_key.curve(), point).unwrap(),
            dak: &self.dak,
            kmc_key: &self.kmc_key,
            vending_keys,
            response_time: self.response.response_time,
            nonce: self.response.nonce,
        };
        new_file.build()
    }

    pub(super) fn keys(&self) -> FileKeys {
        let kmc_point = self.kmc_key.public_point();
        let z = self.module_key.agree(&kmc_point).unwrap();
        let info = info(&self.request, &kmc_point, &self.response);
        FileKeys::derive(&z, &self.dak, &self.response.nonce, &info)
    }

    /// The file with `change` made and a correct MAC, as only the KMC could make
    /// it.
    pub(super) fn resealed(&self, change: impl FnOnce(&mut Vec<Record>)) -> Vec<Record> {
        let mut records = self.file.clone();
        records.pop();
        change(&mut records);
        records.push(
            VkloadMac {
                mac: self.keys().mac(&records),
            }
            .to_record(),
        );
        records
    }
}

fn upper_hex(bytes: &[u8]) -> String {
    hex::encode_upper(bytes)
}

#[test]
fn public_key_and_fingerprint() {
    for (vector, exchange) in Exchange::all() {
        let point = exchange.kmc_key.public_point();
        assert_eq!(point.to_text().as_str(), vector.kmc_public);
        assert_eq!(
            PublicPoint::read(point.curve(), &vector.kmc_public),
            Ok(point.clone())
        );
        assert_eq!(point.fingerprint().to_string(), vector.fingerprint);
        let record = PkEcdh::from_record(&Record::parse(&vector.pk_record).unwrap()).unwrap();
        assert_eq!(record.kmcid, exchange.request.kmcid);
        assert_eq!(record.public_key, point.to_text());
    }
}

#[test]
fn keys_of_the_device_and_mac_of_the_request() {
    for (
        vector,
        Exchange {
            dak,
            request,
            module_key,
            ..
        },
    ) in Exchange::all()
    {
        assert_eq!(upper_hex(dak.request_key().expose()), vector.k_req);
        assert_eq!(upper_hex(dak.file_key().expose()), vector.k_dak);
        assert_eq!(request.public_key, module_key.public_point().to_text());
        assert_eq!(dak.request_mac(&request.authenticated_text()), request.mac);
        assert!(dak.authenticates(&request));
        assert_eq!(request.text(), vector.request);
    }
}

#[test]
fn secret_agreed_upon_and_keys_of_the_file() {
    for (vector, exchange) in Exchange::all() {
        let (kmc_point, module_point) = (
            exchange.kmc_key.public_point(),
            exchange.module_key.public_point(),
        );
        let z = exchange.kmc_key.agree(&module_point).unwrap();
        assert_eq!(upper_hex(z.expose()), vector.z);
        assert_eq!(
            upper_hex(exchange.module_key.agree(&kmc_point).unwrap().expose()),
            vector.z
        );
        assert_eq!(upper_hex(&exchange.response.nonce), vector.nonce);
        assert_eq!(
            info(&exchange.request, &kmc_point, &exchange.response),
            vector.info
        );
        let keys = exchange.keys();
        assert_eq!(upper_hex(keys.key_encryption_key.expose()), vector.kek);
        assert_eq!(upper_hex(keys.mac_key.expose()), vector.mac_key);
        assert_debug_hides(&keys, keys.key_encryption_key.expose());
        assert_debug_hides(&keys, keys.mac_key.expose());
    }
}

#[test]
fn the_file_is_built_byte_for_byte_whatever_the_order_of_its_keys() {
    for (vector, exchange) in Exchange::all() {
        for reversed in [false, true] {
            let mut keys: Vec<_> = vector.vending_keys.iter().map(Key::read).collect();
            if reversed {
                keys.reverse();
            }
            let texts: Vec<_> = exchange
                .try_build(keys)
                .unwrap()
                .iter()
                .map(|record| record.text().to_owned())
                .collect();
            assert_eq!(texts, vector.klf);
        }
    }
}

#[test]
fn the_file_is_opened_to_its_keys_and_check_values() {
    for (vector, exchange) in Exchange::all() {
        let opened = exchange.open(&exchange.file).unwrap();
        let response = VkloadRsp::from_record(&exchange.file[0]).unwrap();
        assert_eq!(response, exchange.response);
        assert_eq!(opened.len(), vector.vending_keys.len());
        for ((attributes, key), expected) in opened.iter().zip(&vector.vending_keys) {
            assert_eq!(*attributes, expected.read().0);
            assert_eq!(upper_hex(key.expose()), expected.key);
            assert_eq!(key.kcv(attributes).to_string(), expected.kcv);
        }
        for (_, key) in &opened {
            assert_debug_hides(&opened, key.expose());
        }
    }
}
