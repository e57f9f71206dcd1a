//! Mail: reads requests from MIME and writes replies. Knows no policy, storage
//! or service.
//!
//! The way in is [`Message::from_bytes`] (or [`Headers::push`], field by field
//! from a milter), then [`Message::structure`], [`reply_targets`] and
//! [`Request::from_message`]. The way out is [`Outcome`] and [`compose`]. The
//! milter and the worker call the same functions on the same bytes.

mod address;
mod address_list;
mod base64_symbols;
mod charset;
mod encoded_word;
mod envelope;
mod flowed;
mod gateway_addresses;
pub mod gateway_result;
mod header;
mod identity;
pub(crate) mod lexer;
mod message;
mod mime;
mod named_gateway;
mod notice;
mod outcome;
mod prose;
#[cfg(test)]
mod python;
mod reply;
mod request;
mod result_code;
mod service_code;
mod seven_bit;
mod subject;
mod targets;
mod threading;
mod trace;
mod transfer_encoding;

pub use address::Address;
pub(crate) use address::AddressError;
pub use address_list::{from_addresses, to_addresses};
pub use envelope::{Client, ReversePath};
pub use gateway_addresses::GatewayAddresses;
pub(crate) use header::Header;
pub use header::Headers;
pub(crate) use identity::{QueueIds, identity};
pub use message::Message;
pub(crate) use mime::{ContentType, Part, Structure};
pub(crate) use named_gateway::named_in_to;
pub(crate) use notice::{compose_late_notice, compose_late_notice_before, compose_notice};
pub use outcome::Outcome;
pub(crate) use prose::wrap_prose;
pub(crate) use reply::ReplyAttachment;
pub use reply::{ReplyStamp, ReplyText, compose};
pub(crate) use request::Attachment;
pub use request::{Body, Request};
pub(crate) use result_code::ResultCode;
pub use result_code::{CodeKind, Concern, ErrorCode, NoticeCode, RESULT_CODES};
pub use service_code::ServiceCode;
pub(crate) use service_code::{Expected, SubjectError, parse_subject};
pub use subject::REPLY_PREFIX;
pub use targets::reply_targets;
pub(crate) use targets::{LeftOut, Targets};
pub(crate) use threading::reply_message_id;
pub(crate) use trace::Trace;
