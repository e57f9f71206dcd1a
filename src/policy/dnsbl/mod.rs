//! Weighs the answers of DNS blocklists (RFC 5782) about a client. Pure: the
//! room `dnsbl` asks the zones and brings their answers.

mod score;
mod settings;
mod site;
mod zone_name;

pub use score::{Failure, Hit, Reply, Score, ZoneReply};
pub use settings::{ConfiguredSite, Settings};
pub use site::{ReplyFilter, Site, SiteError};
pub use zone_name::{ZoneName, without_keys};
