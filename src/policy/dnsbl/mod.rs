//! Weighs the answers of DNS blocklists (RFC 5782) about a client. Pure: the
//! room `dnsbl` asks the zones and brings their answers.

mod score;
mod settings;
mod site;
mod zone_name;

pub(crate) use score::{Hit, Reply, Score, ZoneReply};
pub(crate) use settings::{ConfiguredSite, Settings};
pub(crate) use site::Site;
pub(crate) use zone_name::{ZoneName, without_keys};
