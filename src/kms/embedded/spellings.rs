//! A request has one spelling. With any bit or field written otherwise it is
//! refused, even with a corrected checksum.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use super::world::World;
use super::*;
use crate::kms::Curve;
use crate::sts::{Checksum, Record, RecordError, TypedRecord};

fn read(text: &str) -> Result<VkloadReq, RecordError> {
    VkloadReq::from_record(&Record::parse(text)?)
}

/// The text that the checksum covers, the last `|` included.
fn covered(request: &VkloadReq) -> String {
    let record = request.to_record();
    let text = record.text();
    text[..text.len() - 4].to_owned()
}

fn flips(text: &str) -> impl Iterator<Item = String> {
    (0..text.len() * 8).map(move |bit| {
        let mut bytes = text.as_bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        // Mail is decoded in this way where it is not UTF-8.
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// The refusal of a request, or none if it can't be read.
async fn refusal(world: &World, text: &str) -> Option<Refusal> {
    match read(text) {
        Err(_) => None,
        Ok(request) => Some(world.refused(&request).await),
    }
}

#[tokio::test]
async fn every_bit_counts() {
    for curve in [Curve::P384, Curve::P256] {
        let world = World::new(curve).await;
        let request = world.request();
        let text = request.to_record().text().to_owned();
        assert_eq!(read(&text).unwrap(), request);
        for changed in flips(&text) {
            let error = read(&changed).unwrap_err();
            assert!(
                matches!(
                    error,
                    RecordError::Field { .. } | RecordError::Missing { .. }
                ),
                "{changed}: {error}"
            );
        }
        let mut refusals = Vec::new();
        for changed in flips(&covered(&request)) {
            let text = format!("{changed}{}", Checksum::of(&changed));
            refusals.extend(refusal(&world, &text).await);
        }
        let is_expected = |refusal: &Refusal| {
            matches!(
                refusal,
                Refusal::Expired { .. }
                    | Refusal::Future { .. }
                    | Refusal::Authentication(
                        AuthenticationFailure::HardwareId | AuthenticationFailure::Mac
                    )
            )
        };
        // Identifiers have checksums of their own, so that no flip in them is read.
        assert!(refusals.iter().all(is_expected), "{refusals:?}");
        assert!(refusals.len() > 500, "{}", refusals.len());
    }
}

#[tokio::test]
async fn every_other_spelling_is_refused() {
    let world = World::new(Curve::P384).await;
    let request = world.request();
    let record = request.to_record();
    let fields: Vec<String> = record.fields().into_iter().map(str::to_owned).collect();
    let spellings: [fn(&str) -> String; 10] = [
        |field| field.to_lowercase(),
        |field| field.to_uppercase(),
        |field| format!("0{field}"),
        |field| format!("+{field}"),
        |field| format!(" {field}"),
        |field| format!("{field} "),
        |field| format!("{field}\t"),
        |field| format!("{field}\u{a0}"),
        |field| field.replace(':', ": "),
        |_| String::new(),
    ];
    for place in 0..fields.len() {
        for (number, spell) in spellings.iter().enumerate() {
            let mut spelt = fields.clone();
            spelt[place] = spell(&fields[place]);
            if spelt[place] == fields[place] {
                continue;
            }
            let covered = format!("{}|{}|", record.kind(), spelt.join("|"));
            let text = format!("{covered}{}", Checksum::of(&covered));
            if let Some(refusal) = refusal(&world, &text).await {
                assert!(
                    matches!(refusal, Refusal::Authentication(_)),
                    "field {place}, spelling {number}: {refusal}"
                );
            }
        }
    }
    let text = record.text();
    let (covered, checksum) = text.split_at(text.len() - 4);
    for checksum in [
        format!("0{checksum}"),
        format!(" {checksum}"),
        format!("{checksum} "),
        format!("{checksum}\r\n"),
        String::new(),
    ] {
        assert!(
            read(&format!("{covered}{checksum}")).is_err(),
            "{checksum:?}"
        );
    }
}
