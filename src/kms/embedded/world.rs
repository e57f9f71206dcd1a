//! A small KMC with real keys, for the tests.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;

use super::*;
use crate::{
    kms::{
        Curve, PrivateKey, VendingKey,
        administration::{
            Administration, NewKmcKey, NewModule, NewVendingKey, new_kmcid, new_smid,
        },
        memory_tables::MemoryTables,
    },
    request_id::RequestId,
    sts::{Dkga, KmcId, Krn, Sgc, SmId, VendingKeyAttributes},
};

pub(super) const NOW: &str = "2026-03-01T12:00:00Z";

/// A KMC with one key, one module and three vending keys, and the module's own
/// secrets. The module may have two of the vending keys.
pub(super) struct World {
    pub(super) tables: Arc<MemoryTables>,
    sealing: Secret<32>,
    pub(super) kms: EmbeddedKms,
    pub(super) kmc_key: PrivateKey,
    pub(super) kmcid: KmcId,
    pub(super) dak: Dak,
    pub(super) smid: SmId,
    pub(super) module_key: PrivateKey,
}

pub(super) fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

pub(super) fn attributes(sgc: &str, krn: u8, dkga: Dkga) -> VendingKeyAttributes {
    VendingKeyAttributes {
        sgc: sgc.parse().unwrap(),
        krn: Krn::new(krn).unwrap(),
        kt: "2".parse().unwrap(),
        ken: 255,
        bdt: "2014".parse().unwrap(),
        dkga,
        act: "20260101T000000Z".parse().unwrap(),
        iut: None,
        ulm: u32::MAX,
        clm: u32::MAX,
    }
}

impl World {
    pub(super) async fn new(curve: Curve) -> Self {
        let tables = Arc::new(MemoryTables::default());
        let sealing = Secret::random().unwrap();
        let storage_key = || StorageKey::new(Secret::copied_from(sealing.expose()).unwrap());
        let kms = EmbeddedKms::new(
            tables.clone(),
            storage_key(),
            KeyLoadFileSettings::default(),
        )
        .unwrap();
        let issuer = "Example".parse().unwrap();
        let mut world = Self {
            kms,
            kmc_key: PrivateKey::generate(curve).unwrap(),
            kmcid: new_kmcid(issuer, "K0000".parse().unwrap(), at(NOW)).unwrap(),
            dak: Dak::random().unwrap(),
            smid: new_smid("Example".parse().unwrap(), "9000".parse().unwrap(), at(NOW)).unwrap(),
            module_key: PrivateKey::generate(curve).unwrap(),
            sealing,
            tables,
        };
        let key = PrivateKey::from_scalar(curve, world.kmc_key.to_scalar().expose()).unwrap();
        world.kmcid = world
            .add_kmc_key(&key, "20260101T000000Z", "20360101T000000Z")
            .await;
        world.add_module(&["123456", "000439"]).await;
        world
            .add_vending_key(attributes("123456", 1, Dkga::D04), None)
            .await;
        world
            .add_vending_key(attributes("000439", 2, Dkga::D02), None)
            .await;
        world
            .add_vending_key(attributes("999999", 1, Dkga::D02), None)
            .await;
        world
    }

    pub(super) fn storage_key(&self) -> StorageKey {
        StorageKey::new(Secret::copied_from(self.sealing.expose()).unwrap())
    }

    pub(super) async fn add_kmc_key(
        &self,
        key: &PrivateKey,
        activation: &str,
        expiry: &str,
    ) -> KmcId {
        let name = format!("K{}", self.tables.content().kmc_keys.len())
            .parse()
            .unwrap();
        let kmcid = new_kmcid("Example".parse().unwrap(), name, at(NOW)).unwrap();
        let (activation, expiry) = (activation.parse().unwrap(), expiry.parse().unwrap());
        let new = NewKmcKey {
            kmcid,
            private_key: key,
            activation,
            expiry,
        };
        let storage_key = self.storage_key();
        let administration = Administration::new(&*self.tables, &storage_key);
        administration
            .add_kmc_key(new, at(NOW))
            .await
            .unwrap()
            .kmcid
    }

    pub(super) async fn add_module(&self, sgcs: &[&str]) {
        let sgcs: BTreeSet<Sgc> = sgcs.iter().map(|sgc| sgc.parse().unwrap()).collect();
        let hardware = "Example-SM1".parse().unwrap();
        let new = NewModule {
            smid: self.smid.clone(),
            hardware,
            sgcs,
            dak: &self.dak,
        };
        let storage_key = self.storage_key();
        Administration::new(&*self.tables, &storage_key)
            .add_module(new, at(NOW))
            .await
            .unwrap();
    }

    pub(super) async fn add_vending_key(
        &self,
        attributes: VendingKeyAttributes,
        expires: Option<&str>,
    ) {
        let key = VendingKey::generate(attributes.dkga).unwrap();
        let expires = expires.map(|expires| expires.parse().unwrap());
        let new = NewVendingKey {
            attributes,
            expires,
            key: &key,
        };
        let storage_key = self.storage_key();
        let administration = Administration::new(&*self.tables, &storage_key);
        administration.add_vending_key(new, at(NOW)).await.unwrap();
    }

    /// A request that the module would make now.
    pub(super) fn request(&self) -> VkloadReq {
        self.signed(VkloadReq {
            smid: self.smid.clone(),
            kmcid: self.kmcid.clone(),
            time: "20260301T120000Z".parse().unwrap(),
            hardware: "Example-SM1".parse().unwrap(),
            firmware: "FW1.0".parse().unwrap(),
            public_key: self.module_key.public_point().to_text(),
            mac: [0; 24],
        })
    }

    pub(super) fn signed(&self, mut request: VkloadReq) -> VkloadReq {
        request.mac = self.dak.request_mac(&request.authenticated_text());
        request
    }

    /// The module's request with `change` made before its MAC.
    pub(super) fn changed(&self, change: impl FnOnce(&mut VkloadReq)) -> VkloadReq {
        let mut request = self.request();
        change(&mut request);
        self.signed(request)
    }

    pub(super) async fn answer(&self, request: &VkloadReq) -> Result<Issue, KmsError> {
        self.answer_at(request, NOW, NOW).await
    }

    pub(super) async fn answer_at(
        &self,
        request: &VkloadReq,
        accepted_at: &str,
        now: &str,
    ) -> Result<Issue, KmsError> {
        let question = IssueQuestion {
            request_id: RequestId::random().unwrap(),
            request: request.clone(),
            accepted_at: at(accepted_at),
            now: at(now),
        };
        let revision = self.tables.content().revision;
        let foretold = self.kms.foretell(&question).await;
        let answer = self.kms.issue(&question).await;
        match (&foretold, &answer) {
            (Ok(None), Ok(Issue::Granted(_)) | Err(_)) | (Err(_), Err(_)) => {}
            (Ok(Some(foretold)), Ok(Issue::Refused(refusal))) => assert_eq!(foretold, refusal),
            _ => panic!("foretold {foretold:?}, and then {answer:?}"),
        }
        assert_eq!(
            self.tables.content().revision,
            revision,
            "something was written"
        );
        answer
    }

    pub(super) async fn granted(&self, request: &VkloadReq) -> Grant {
        match self.answer(request).await.unwrap() {
            Issue::Granted(grant) => *grant,
            Issue::Refused(refusal) => panic!("{refusal}"),
        }
    }

    pub(super) async fn refused(&self, request: &VkloadReq) -> Refusal {
        match self.answer(request).await.unwrap() {
            Issue::Refused(refusal) => refusal,
            Issue::Granted(grant) => panic!("{:?} were granted", grant.keys),
        }
    }
}
