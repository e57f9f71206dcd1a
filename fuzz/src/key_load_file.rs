//! A key load file opens only as it was made. A change with right checksums
//! keeps it closed.

use std::sync::LazyLock;

use kms_gateway::kms::klf::Opener;
use kms_gateway::kms::{Curve, Dak, PrivateKey};
use kms_gateway::sts::{Record, TypedRecord as _, VkloadReq, file};
use serde_json::Value;

use super::checksums::corrected_lines;

/// The vectors of the profile, one for each curve.
static EXCHANGES: LazyLock<Vec<Exchange>> = LazyLock::new(|| {
    let vectors = include_str!("../../integration/vectors/vectors.json");
    let vectors: Vec<Value> = serde_json::from_str(vectors).unwrap();
    vectors.iter().map(Exchange::of).collect()
});

/// A request and the file that answers it.
struct Exchange {
    request: VkloadReq,
    module_key: PrivateKey,
    kmc_key: PrivateKey,
    dak: Dak,
    answer: Vec<Record>,
}

impl Exchange {
    fn of(vector: &Value) -> Self {
        let text = |name: &str| vector[name].as_str().unwrap();
        let curve = match text("curve") {
            "P-384" => Curve::P384,
            "P-256" => Curve::P256,
            other => panic!("{other}"),
        };
        let key = |name: &str| {
            let scalar: Vec<u8> = octets(text(name));
            PrivateKey::from_scalar(curve, &scalar).unwrap()
        };
        let request = Record::parse(text("request")).unwrap();
        let answer = vector["klf"].as_array().unwrap().iter();
        Exchange {
            request: VkloadReq::from_record(&request).unwrap(),
            module_key: key("module_private"),
            kmc_key: key("kmc_private"),
            dak: Dak::from_hex(text("dak")).unwrap(),
            answer: answer
                .map(|line| Record::parse(line.as_str().unwrap()).unwrap())
                .collect(),
        }
    }

    fn check(&self, records: &[Record]) {
        let opener = Opener {
            request: &self.request,
            module_key: &self.module_key,
            dak: &self.dak,
            kmc_point: &self.kmc_key.public_point(),
        };
        let opened = opener.open(records);
        assert_eq!(opened.is_ok(), records == self.answer, "{opened:?}");
        if let Ok(opened) = opened {
            assert_eq!(opened.len() + 2, records.len());
        }
    }
}

/// Takes the octets as the answer to each request, as they are and with right
/// checksums.
pub fn check(data: &[u8]) {
    for file in [data, &corrected_lines(data)] {
        if let Ok(records) = file::parse(file) {
            EXCHANGES
                .iter()
                .for_each(|exchange| exchange.check(&records));
        }
    }
}

fn octets(digits: &str) -> Vec<u8> {
    let pairs = (0..digits.len()).step_by(2);
    pairs
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}
