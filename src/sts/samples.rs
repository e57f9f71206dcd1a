//! Shared by the tests of this folder: the standard's records and arbitrary
//! values of every type.
#![allow(clippy::unwrap_used)]

use jiff::Timestamp;
use proptest::array::uniform;
use proptest::prelude::*;

use super::*;

/// The record of STS600-9-2, 5.1.3.5.
pub(super) const STANDARD_PUBLIC_KEY: &str = concat!(
    "PK.ECDH.1|KMCID.1:Prism:K0001:20200622T140747Z:9863A537B5AF34F5:6850|",
    "047D77A4819BEF702350D3912583AC169FAD4181648DA70E609447527315D931",
    "A8BD73A084204180CB7D0619C3850BF9BA1E0C9E93200723588D427BB358570E",
    "AF2F8576447478F3953FCC50C874461C334D19D8AA8CFFDE23507B11A104027CE2",
    "|20230601T000000Z|||D318",
);

/// The record of STS600-9-2, 5.1.4.4.
pub(super) const STANDARD_REQUEST: &str = concat!(
    "VKLOAD.REQ.1|SMID.1:Prism:94000304:20200622T130252Z:26D7925210FB47EA:2642|",
    "KMCID.1:Prism:K0001:20200622T140747Z:9863A537B5AF34F5:6850|20200622T144047Z|",
    "Prism-TSM250-1|STS65V10|",
    "043771530383BB4B7570ED7019FB15DAE1A303E249CF8B51734136CFB58B2B68",
    "95D0E2202A6140FE2E38ED65178372E29CE0959436A13CC08D96E1C849BF5BE8",
    "B0FB198B5577CF24AC0A73A71FA759DB202A933CEA9A0B9523DCACBDD91CC40500",
    "|38D1405FE3AB906524921F159B7FCC4B7104906B824DA80E|FB39",
);

pub(super) fn ident() -> impl Strategy<Value = Ident> {
    "[A-Za-z0-9][A-Za-z0-9_.,-]{0,39}".prop_map(|text| text.parse().unwrap())
}

pub(super) fn time() -> impl Strategy<Value = StsTime> {
    (946_684_800..253_402_207_200_i64).prop_map(|second| {
        StsTime::from_timestamp(Timestamp::from_second(second).unwrap()).unwrap()
    })
}

pub(super) fn module() -> impl Strategy<Value = SmId> {
    (ident(), ident(), time(), any::<[u8; 8]>())
        .prop_map(|(issuer, name, created, unique)| SmId::new(issuer, name, created, unique))
}

pub(super) fn kmc_key() -> impl Strategy<Value = KmcId> {
    (ident(), ident(), time(), any::<[u8; 8]>())
        .prop_map(|(issuer, name, created, unique)| KmcId::new(issuer, name, created, unique))
}

pub(super) fn point() -> impl Strategy<Value = PointText> {
    prop::collection::vec(any::<u8>(), 1..134)
        .prop_map(|bytes| PointText::from_bytes(&bytes).unwrap())
}

pub(super) fn public_key() -> impl Strategy<Value = PkEcdh> {
    let reserved = "[!-{}~]{0,20}".prop_map(|text| text.parse::<Reserved>().unwrap());
    let reserved = [reserved.clone(), reserved];
    (kmc_key(), point(), time(), reserved).prop_map(|(kmcid, public_key, expiry, reserved)| {
        PkEcdh {
            kmcid,
            public_key,
            expiry,
            reserved,
        }
    })
}

pub(super) fn request() -> impl Strategy<Value = VkloadReq> {
    (
        module(),
        kmc_key(),
        time(),
        ident(),
        ident(),
        point(),
        uniform(any::<u8>()),
    )
        .prop_map(
            |(smid, kmcid, time, hardware, firmware, public_key, mac)| VkloadReq {
                smid,
                kmcid,
                time,
                hardware,
                firmware,
                public_key,
                mac,
            },
        )
}

pub(super) fn response() -> impl Strategy<Value = VkloadRsp> {
    (
        kmc_key(),
        module(),
        time(),
        time(),
        any::<u32>(),
        any::<[u8; 16]>(),
    )
        .prop_map(
            |(kmcid, smid, request_time, response_time, count, nonce)| VkloadRsp {
                kmcid,
                smid,
                request_time,
                response_time,
                count,
                nonce,
            },
        )
}

pub(super) fn vending_key() -> impl Strategy<Value = Vk> {
    let bdt = prop::sample::select(vec![BaseDate::Y1993, BaseDate::Y2014, BaseDate::Y2035]);
    let dkga = prop::sample::select(vec![Dkga::D01, Dkga::D02, Dkga::D04]);
    let numbers = (
        0..1_000_000_u32,
        1..=9_u8,
        0..=3_u8,
        any::<u8>(),
        any::<u32>(),
        any::<u32>(),
    );
    (
        numbers,
        bdt,
        dkga,
        time(),
        prop::option::of(time()),
        prop::collection::vec(any::<u8>(), 40),
    )
        .prop_map(
            |((sgc, krn, kt, ken, ulm, clm), bdt, dkga, act, iut, mut wrapped_key)| {
                wrapped_key.truncate(if dkga == Dkga::D04 { 40 } else { 24 });
                let attributes = VendingKeyAttributes {
                    sgc: format!("{sgc:06}").parse().unwrap(),
                    krn: Krn::new(krn).unwrap(),
                    kt: KeyType::new(kt).unwrap(),
                    ken,
                    bdt,
                    dkga,
                    act,
                    iut,
                    ulm,
                    clm,
                };
                Vk {
                    attributes,
                    wrapped_key,
                }
            },
        )
}
