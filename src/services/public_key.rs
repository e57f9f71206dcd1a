//! Get Public Key service (5.1.3): fingerprint and PK.ECDH.1, as in the
//! standard's example.

use super::call::{Answer, Call, ServiceError};
use crate::sts::{TypedRecord, write_in_mail};

pub(super) async fn answer(call: Call<'_>) -> Result<Answer, ServiceError> {
    let key = call.kms.public_key(call.now).await?;
    Ok(Answer::success(format!(
        "KMC Public Key Fingerprint: {}\n\n\
         Public Key in STS600-4-2 Record-In-Email format:\n{}",
        key.fingerprint,
        write_in_mail(&key.record.to_record()),
    )))
}
