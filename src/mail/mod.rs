//! Mail: requests out of MIME, replies into it. Knows no policy, storage or service.
//!
//! The way in is [`Message::from_bytes`] (or [`Headers::push`] as a milter
//! hears them), then [`Message::structure`], [`reply_targets`] and
//! [`Request::from_message`]; the way out is [`Outcome`] and [`compose`].
//! The milter, which judges, and the worker, which answers, call the same
//! functions on the same bytes.

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

pub use address::{Address, AddressError};
pub use address_list::{from_addresses, to_addresses};
pub use envelope::{Client, ReversePath};
pub use gateway_addresses::GatewayAddresses;
pub use header::{Header, Headers};
pub use identity::{QueueIds, identity};
pub use message::Message;
pub use mime::{ContentType, Disposition, Part, Structure};
pub use named_gateway::named_in_to;
pub use notice::{compose_late_notice, compose_notice};
pub use outcome::Outcome;
pub use prose::wrap_prose;
pub use reply::{ReplyAttachment, ReplyStamp, ReplyText, compose};
pub use request::{Attachment, Body, Request, RequestError};
pub use result_code::{CodeKind, Concern, ErrorCode, NoticeCode, RESULT_CODES, ResultCode};
pub use service_code::{Expected, ServiceCode, SubjectError, parse_subject};
pub use subject::REPLY_PREFIX;
pub use targets::{LeftOut, TargetSource, Targets, reply_targets};
pub use threading::reply_message_id;
pub use trace::Trace;
