//! Send an update file to the KMC (5.1.1): reserved for the STSA. This gateway
//! takes no update files, and says so.

use super::{Answer, Call};
use crate::mail::ErrorCode;

pub(super) fn answer(_: &Call<'_>) -> Answer {
    Answer::error(
        ErrorCode::ServiceFailed,
        Some("The service {KMS:SmUpdateStsEd2} is reserved for the STSA".to_owned()),
        Vec::new(),
    )
}
