//! The table of result codes. A code is a contract, as programs compare it. The
//! texts are for people. The header texts of `EVkloadExpired` and `Deferred`
//! are the standard's.
//!
//! Header and reply state meaning and remedy. Help text and documentation add
//! the cause.

use std::fmt::{self, Display, Formatter};

use super::{CodeKind, Concern, ResultCode};

result_codes! {
    /// Codes of a final result that isn't a success. The standard has
    /// `EVkloadExpired` (8.3.2). The others are this gateway's.
    ErrorCode, Error {
        VkloadExpired = "EVkloadExpired", VendingKeyLoadRequest {
            meaning: "The VKLOADREQ is stale",
            cause: "It was older than the gateway takes when the message arrived, or its module's \
                    clock is slow",
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
            cause: "The code is misspelt, or another gateway's",
            remedy: "send {KMS:Help} for the list of services",
            parameters: "every code that is known",
        }
        PlainTextRequired = "EPlainTextRequired", Message {
            meaning: "The message has no plain text body",
            cause: "The mail program sent HTML alone, or something that is encrypted or no text",
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
            cause: "Two records were pasted, or one twice",
            remedy: "send one request for each record",
            parameters: "",
        }
        RecordQuoted = "ERecordQuoted", Record {
            meaning: "The record in the message body is quoted from another message",
            cause: "Its lines begin with a quote mark, as in a reply: it is somebody's copy and no \
                    request",
            remedy: "send the record in a new message, without quote marks",
            parameters: "",
        }
        RecordFormat = "ERecordFormat", Record {
            meaning: "The record in the message is malformed",
            cause: "A field is missing, or not of the form that it must have; the reply says which",
            remedy: "copy the record again, unchanged, and try again",
            parameters: "",
        }
        RecordCrc = "ERecordCrc", Record {
            meaning: "The checksum of the record in the message is wrong",
            cause: "A character was changed, lost or added on the way",
            remedy: "copy the record again, whole and unchanged, and try again",
            parameters: "the checksum that the record states, and the one that its text has",
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
                    another key or hardware; which one, the KMC's operators see in their log",
            remedy: "check that the security module is registered at this KMC, or ask its operators",
            parameters: "",
        }
        VkloadPublicKey = "EVkloadPublicKey", VendingKeyLoadRequest {
            meaning: "The public key in the VKLOADREQ is not valid",
            cause: "The module's own public key is not a point on the curve of the KMC's key: a \
                    fault of the module",
            remedy: "generate a fresh VKLOADREQ and try again",
            parameters: "",
        }
        VkloadReplayed = "EVkloadReplayed", VendingKeyLoadRequest {
            meaning: "The VKLOADREQ has been used before",
            cause: "It was sent twice, and the first one is answered already",
            remedy: "generate a fresh VKLOADREQ and try again",
            parameters: "",
        }
        NoVendingKeys = "ENoVendingKeys", VendingKeyLoadRequest {
            meaning: "There is no vending key that this security module may have now",
            cause: "The module may have the keys of no supply group, or all of them have expired; \
                    or it was issued as many Key Load Files as it may have for now",
            remedy: "ask the operators of the KMC to authorise its supply groups",
            parameters: "if it was issued too many, the time from which it may ask again",
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
            cause: "It is not that of a key of the STSA's that this KMC trusts at this time, or the \
                    file was changed",
            remedy: "sign the update with a key that this KMC knows and send it again",
            parameters: "",
        }
        UpdateSerial = "EUpdateSerial", Update {
            meaning: "The serial number of the update is not the next one",
            cause: "An update before it has not arrived, or another was applied under its number",
            remedy: "send the updates in their order, beginning with the serial number expected",
            parameters: "the serial number expected",
        }
        UpdateFormat = "EUpdateFormat", Update {
            meaning: "The update is malformed",
            cause: "The file is no update file, was made for another key of the KMC, or says \
                    something that can't be done; the reply says which",
            remedy: "build the update again and send it unchanged",
            parameters: "if it was made for another key, the identifier of the current one (KMCID)",
        }
        ServiceFailed = "EServiceFailed", Gateway {
            meaning: "The gateway could not process the request",
            cause: "Something that it needs was out of order for as long as it goes on trying",
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
            cause: "Far more requests came from you than are answered in their turn; what you send \
                    before the block ends is not read",
            remedy: "this request will be answered when the block ends, until then send no more",
            parameters: "the time when the block ends",
        }
    }
}
