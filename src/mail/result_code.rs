//! The result codes that a reply can carry: one table, from which the
//! header, the text of replies and the documentation are made.

use std::fmt::{self, Display, Formatter};

/// Which kind of result a code belongs to (STS600-9-2 8.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeKind {
    /// Final.
    Error,
    /// Not final: more mail follows.
    Notice,
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResultCode {
    /// As it stands in `X-Gateway-Result`.
    pub code: &'static str,
    /// Error or notice.
    pub kind: CodeKind,
    /// What happened.
    pub meaning: &'static str,
    /// How to proceed.
    pub remedy: &'static str,
}

impl ResultCode {
    /// The human-readable description: what happened, and how to proceed.
    #[must_use]
    pub fn description(&self) -> String {
        format!("{}; {}", self.meaning, self.remedy)
    }
}

/// Writes the enums of codes, and the table, from one list.
macro_rules! result_codes {
    ($($(#[$about:meta])* $name:ident, $kind:ident {
        $($(#[$doc:meta])* $variant:ident = $code:literal, $meaning:literal, $remedy:literal;)+
    })+) => {
        /// Every code, errors first.
        pub const RESULT_CODES: &[ResultCode] = &[$($($name::$variant.row(),)+)+];

        $(
            $(#[$about])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
            pub enum $name { $($(#[$doc])* $variant,)+ }

            impl $name {
                /// Every code of this kind.
                pub const ALL: &[$name] = &[$($name::$variant,)+];

                /// Its row of the table.
                #[must_use]
                pub const fn row(self) -> ResultCode {
                    match self {
                        $($name::$variant => ResultCode {
                            code: $code,
                            kind: CodeKind::$kind,
                            meaning: $meaning,
                            remedy: $remedy,
                        },)+
                    }
                }

                /// As it stands in `X-Gateway-Result`.
                #[must_use]
                pub const fn as_str(self) -> &'static str {
                    self.row().code
                }

                /// What happened and how to proceed, as the requester reads it.
                #[must_use]
                pub fn description(self) -> String {
                    self.row().description()
                }

                /// The code of that name.
                #[must_use]
                pub fn from_name(name: &str) -> Option<Self> {
                    Self::ALL.iter().copied().find(|code| code.as_str() == name)
                }
            }

            impl Display for $name {
                fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
                    f.write_str(self.as_str())
                }
            }
        )+
    };
}

result_codes! {
    /// Codes of a final result that isn't a success. `EVkloadExpired` is the
    /// standard's own (8.3.2), the others are this gateway's.
    ErrorCode, Error {
        /// The VKLOADREQ is older than the gateway accepts.
        VkloadExpired = "EVkloadExpired",
            "The VKLOADREQ is stale",
            "generate a fresh VKLOADREQ and try again";
        /// The VKLOADREQ is dated ahead of the gateway's clock.
        VkloadFuture = "EVkloadFuture",
            "The VKLOADREQ is dated in the future",
            "set the clock of the security module to UTC, generate a fresh VKLOADREQ and try again";
        /// No service has the code in the Subject.
        UnknownService = "EUnknownService",
            "The service code in the Subject is not known",
            "send {KMS:Help} for the list of services";
        /// There is no text/plain body.
        PlainTextRequired = "EPlainTextRequired",
            "The message has no plain text body",
            "switch your mail program to plain text and send the request again";
        /// The body has no record of the type that the service needs.
        RecordMissing = "ERecordMissing",
            "The message body has no record of the type that this service needs",
            "paste the whole record, with its BEGINS and ENDS lines, into the body and try again";
        /// It has more than one.
        RecordMultiple = "ERecordMultiple",
            "The message body has more than one record of the type that this service needs",
            "send one request for each record";
        /// It has one, quoted.
        RecordQuoted = "ERecordQuoted",
            "The record in the message body is quoted from another message",
            "send the record in a new message, without quote marks";
        /// A field of the record is malformed.
        RecordFormat = "ERecordFormat",
            "The record in the message is malformed",
            "copy the record again, unchanged, and try again";
        /// The record's checksum is wrong.
        RecordCrc = "ERecordCrc",
            "The checksum of the record in the message is wrong",
            "copy the record again, whole and unchanged, and try again";
        /// The request was made for another KMC key.
        VkloadKmc = "EVkloadKmc",
            "The VKLOADREQ was made for another public key of the KMC",
            "get the current key with {KMS:GetPublicKey}, load it into the security module and generate a fresh VKLOADREQ";
        /// Module unknown or revoked, wrong hardware or wrong MAC: which one, only the audit log says.
        VkloadAuthentication = "EVkloadAuthentication",
            "The VKLOADREQ could not be authenticated",
            "check that the security module is registered at this KMC, or ask its operators";
        /// The module's ephemeral public key isn't a point on the KMC key's curve.
        VkloadPublicKey = "EVkloadPublicKey",
            "The public key in the VKLOADREQ is not valid",
            "generate a fresh VKLOADREQ and try again";
        /// The request was answered before.
        VkloadReplayed = "EVkloadReplayed",
            "The VKLOADREQ has been used before",
            "generate a fresh VKLOADREQ and try again";
        /// The module may have no key that is valid now.
        NoVendingKeys = "ENoVendingKeys",
            "There is no vending key that this security module may have now",
            "ask the operators of the KMC to authorise its supply groups";
        /// The attachment that the service needs isn't there.
        AttachmentMissing = "EAttachmentMissing",
            "The message has no attachment, but this service needs one",
            "attach the file as text/plain, with a name that ends in .txt, and try again";
        /// It is there, of another type.
        AttachmentType = "EAttachmentType",
            "The attachment is not text/plain",
            "give the file a name that ends in .txt and attach it again";
        /// The update's signature isn't that of a configured STSA key.
        UpdateSignature = "EUpdateSignature",
            "The signature of the update could not be verified",
            "sign the update with a key that this KMC knows and send it again";
        /// The update isn't the next in its series.
        UpdateSerial = "EUpdateSerial",
            "The serial number of the update is not the next one",
            "send the updates in their order, beginning with the serial number expected";
        /// The update is malformed.
        UpdateFormat = "EUpdateFormat",
            "The update is malformed",
            "build the update again and send it unchanged";
        /// Ours, after every retry.
        ServiceFailed = "EServiceFailed",
            "The gateway could not process the request",
            "try again later, or ask the operators of the KMC";
    }

    /// Codes of a result that isn't final.
    NoticeCode, Notice {
        /// In the words of the standard (8.3.2).
        Deferred = "Deferred",
            "Operation failed but will be retried",
            "you don't need to do anything";
        /// The sender is over its allowance.
        Blocked = "Blocked",
            "Too many messages came from your address and it is blocked for a time",
            "this request will be answered when the block ends, until then send no more";
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_unique_and_shaped_by_their_kind() {
        let mut seen = HashSet::new();
        for row in RESULT_CODES {
            assert!(seen.insert(row.code), "{}", row.code);
            assert!(
                row.code.chars().all(|c| c.is_ascii_alphanumeric()),
                "{}",
                row.code
            );
            assert_eq!(
                row.kind == CodeKind::Error,
                row.code.starts_with('E'),
                "{}",
                row.code
            );
        }
    }

    #[test]
    fn descriptions_fit_an_element_of_the_result() {
        for row in RESULT_CODES {
            let description = row.description();
            assert!(
                description.bytes().all(|byte| matches!(byte, b' '..=b'~')),
                "{}",
                row.code
            );
            assert!(
                description.len() <= 600 && !description.ends_with('.'),
                "{}",
                row.code
            );
        }
    }

    #[test]
    fn the_words_of_the_standard() {
        assert_eq!(
            ErrorCode::VkloadExpired.description(),
            "The VKLOADREQ is stale; generate a fresh VKLOADREQ and try again"
        );
        assert_eq!(
            NoticeCode::Deferred.description(),
            "Operation failed but will be retried; you don't need to do anything"
        );
    }

    #[test]
    fn names_lead_back_to_codes() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_name(code.as_str()), Some(*code));
        }
        assert_eq!(NoticeCode::from_name("EVkloadExpired"), None);
    }
}
