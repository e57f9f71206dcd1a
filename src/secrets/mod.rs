//! Secrets: locked memory, the master secret, sealing at rest, and the primitives that
//! both ends of a key load file use. Does not know what a secret is for.

mod master_secret;
pub mod primitives;
mod sealing;
mod secret;

pub use self::master_secret::MasterSecret;
pub(crate) use self::master_secret::MasterSecretError;
pub use self::sealing::StorageKey;
pub(crate) use self::sealing::{DoesNotOpen, OtherMasterSecret, Sealed};
pub use self::secret::Secret;
#[cfg(test)]
pub(crate) use self::secret::assert_debug_hides;
pub(crate) use self::secret::{RandomError, SecretBytes};
pub(crate) use self::{
    sealing::AssociatedData,
    secret::{are_kept_in_memory as secrets_are_kept_in_memory, fill_random, random_array},
};
