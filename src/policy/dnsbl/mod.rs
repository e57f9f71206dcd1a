//! What DNS blocklists (RFC 5782) say of a client, and what that weighs.
//! Pure: whoever asks them is outside, and brings their replies.

mod score;
mod site;
mod zone_name;

pub use score::{Failure, Hit, Reply, Score, ZoneReply};
pub use site::{ReplyFilter, Site, SiteError};
pub use zone_name::{ZoneName, without_keys};
