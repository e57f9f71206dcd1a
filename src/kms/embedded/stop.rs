//! The early end of the checks: a refusal, which is an answer, or trouble, which is
//! none.

use crate::kms::issue::KmsError;
use crate::secrets::DoesNotOpen;

/// Why the checks ended early. `R` is the refusal.
pub(super) enum Stop<R> {
    Refused(R),
    Trouble(KmsError),
}

impl<R> Stop<R> {
    /// Takes trouble out of a judgement, so that a value or a refusal is left.
    pub(super) fn without_trouble<T>(judged: Result<T, Self>) -> Result<Result<T, R>, KmsError> {
        match judged {
            Ok(value) => Ok(Ok(value)),
            Err(Self::Refused(refusal)) => Ok(Err(refusal)),
            Err(Self::Trouble(error)) => Err(error),
        }
    }
}

impl<R> From<KmsError> for Stop<R> {
    fn from(error: KmsError) -> Self {
        Self::Trouble(error)
    }
}

impl<R> From<DoesNotOpen> for Stop<R> {
    fn from(error: DoesNotOpen) -> Self {
        Self::Trouble(error.into())
    }
}
