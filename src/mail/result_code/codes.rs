//! The table of result codes. A code is a contract, as programs compare it. The
//! texts are for people. The header texts of `EVkloadExpired` and `Deferred`
//! are the standard's.
//!
//! Header and reply state meaning and remedy. Help text and documentation add
//! the cause.

use std::fmt::{self, Display, Formatter};

use super::row::{CodeKind, Concern, ResultCode};

result_codes! {
    /// Codes of a final result that isn't a success. The standard has
    /// `EVkloadExpired` (8.3.2). The others are this gateway's.
    ErrorCode, Error {
        VkloadExpired = "EVkloadExpired", VendingKeyLoadRequest {
            meaning: "The VKLOADREQ is stale",
            cause: "It was too old when the message arrived, or the clock of the module is slow",
            remedy: "generate a fresh VKLOADREQ and try again",
            parameters: "the gateway's time",
        }
        VkloadFuture = "EVkloadFuture", VendingKeyLoadRequest {
            meaning: "The VKLOADREQ is dated in the future",
            cause: "The clock of the module is fast, or set to local time instead of UTC",
            remedy: "set the clock of the security module to UTC, generate a fresh VKLOADREQ and \
                     try again",
            parameters: "the gateway's time",
        }
        UnknownService = "EUnknownService", Message {
            meaning: "The service code in the Subject is not known",
            cause: "The code is misspelt, or belongs to another gateway",
            remedy: "send {KMS:Help} for the list of services",
            parameters: "all known codes",
        }
        PlainTextRequired = "EPlainTextRequired", Message {
            meaning: "The message has no plain text body",
            cause: "The mail program sent only HTML, encrypted mail, or something other than text",
            remedy: "switch your mail program to plain text and send the request again",
            parameters: "",
        }
        RecordMissing = "ERecordMissing", Record {
            meaning: "The message body has no record of the type that this service needs",
            cause: "The record or one of its two marker lines was left out, or it was attached \
                    instead of pasted into the body",
            remedy: "paste the whole record, with its BEGINS and ENDS lines, into the body and try \
                     again",
            parameters: "",
        }
        RecordMultiple = "ERecordMultiple", Record {
            meaning: "The message body has more than one record of the type that this service needs",
            cause: "Two records were pasted, or one record twice",
            remedy: "send one request for each record",
            parameters: "",
        }
        RecordQuoted = "ERecordQuoted", Record {
            meaning: "The record in the message body is quoted from another message",
            cause: "Its lines begin with a quote mark, as in a reply, so it is a copy and no \
                    request",
            remedy: "send the record in a new message, without quote marks",
            parameters: "",
        }
        RecordFormat = "ERecordFormat", Record {
            meaning: "The record in the message is malformed",
            cause: "A field is missing or has the wrong form; the reply names it",
            remedy: "copy the record again, unchanged, and try again",
            parameters: "",
        }
        RecordCrc = "ERecordCrc", Record {
            meaning: "The checksum of the record in the message is wrong",
            cause: "A character was changed, lost or added on the way",
            remedy: "copy the record again, whole and unchanged, and try again",
            parameters: "the checksum in the record, and the checksum of its text",
        }
        VkloadKmc = "EVkloadKmc", VendingKeyLoadRequest {
            meaning: "The VKLOADREQ was made for another public key of the KMC",
            cause: "The KMC's key has changed and the old one has expired, or the module holds the \
                    key of another KMC",
            remedy: "get the current key with {KMS:GetPublicKey}, load it into the security module \
                     and generate a fresh VKLOADREQ",
            parameters: "the identifier of the current key (KMCID)",
        }
        VkloadAuthentication = "EVkloadAuthentication", VendingKeyLoadRequest {
            meaning: "The VKLOADREQ could not be authenticated",
            cause: "The module is not registered at this KMC, was revoked, or is registered with \
                    another key or hardware; the KMC's operators see the reason in their log",
            remedy: "check that the security module is registered at this KMC, or ask its operators",
            parameters: "",
        }
        VkloadPublicKey = "EVkloadPublicKey", VendingKeyLoadRequest {
            meaning: "The public key in the VKLOADREQ is not valid",
            cause: "The module's own public key is not a point on the curve of the KMC's key; this \
                    is a fault of the module",
            remedy: "generate a fresh VKLOADREQ and try again",
            parameters: "",
        }
        VkloadReplayed = "EVkloadReplayed", VendingKeyLoadRequest {
            meaning: "The VKLOADREQ has been used before",
            cause: "It was sent twice, and the first message is answered already",
            remedy: "generate a fresh VKLOADREQ and try again",
            parameters: "",
        }
        NoVendingKeys = "ENoVendingKeys", VendingKeyLoadRequest {
            meaning: "There is no vending key that this security module may have now",
            cause: "The module is authorised for no supply group, or all of its keys have expired; \
                    or it has received as many Key Load Files as it may have for now",
            remedy: "ask the operators of the KMC to authorise its supply groups",
            parameters: "after too many Key Load Files, the time from which it may ask again",
        }
        AttachmentMissing = "EAttachmentMissing", Message {
            meaning: "The message has no attachment, but this service needs one",
            cause: "The file was not attached, or is shown inline instead (Content-Disposition)",
            remedy: "attach the file as text/plain, with a name that ends in .txt, and try again",
            parameters: "",
        }
        AttachmentType = "EAttachmentType", Message {
            meaning: "The attachment is not text/plain",
            cause: "The mail program took the type from the name of the file",
            remedy: "give the file a name that ends in .txt and attach it again",
            parameters: "",
        }
        UpdateSignature = "EUpdateSignature", Update {
            meaning: "The signature of the update could not be verified",
            cause: "It was not made with a key of the STSA that this KMC trusts now, or the file \
                    was changed",
            remedy: "sign the update with a key that this KMC knows and send it again",
            parameters: "",
        }
        UpdateSerial = "EUpdateSerial", Update {
            meaning: "The serial number of the update is not the next one",
            cause: "An earlier update has not arrived, or another update was applied under this \
                    number",
            remedy: "send the updates in order, starting with the expected serial number",
            parameters: "the expected serial number",
        }
        UpdateFormat = "EUpdateFormat", Update {
            meaning: "The update is malformed",
            cause: "The file is no update file, was made for another key of the KMC, or asks for \
                    something impossible; the reply names the cause",
            remedy: "build the update again and send it unchanged",
            parameters: "if it was made for another key, the identifier of the current one (KMCID)",
        }
        ServiceFailed = "EServiceFailed", Gateway {
            meaning: "The gateway could not process the request",
            cause: "Something that the gateway needs was out of order until it gave up",
            remedy: "try again later, or ask the operators of the KMC",
            parameters: "",
        }
    }

    /// Codes of a result that isn't final.
    NoticeCode, Notice {
        Deferred = "Deferred", Waiting {
            meaning: "Operation failed but will be retried",
            cause: "Many requests came from you in a short time, and this one waits for its turn; \
                    or something that the gateway needs is out of order",
            remedy: "you don't need to do anything",
            parameters: "if it waits for its turn, the time when it is answered",
        }
        Blocked = "Blocked", Waiting {
            meaning: "Too many messages came from your address and it is blocked for a time",
            cause: "Far too many requests came from you; the gateway reads nothing that you send \
                    before the block ends",
            remedy: "this request will be answered when the block ends; send no more until then",
            parameters: "the time when the block ends",
        }
    }
}
