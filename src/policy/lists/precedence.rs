//! The words of Precedence that mean bulk or automatic mail. The field has no
//! standard (RFC 2076 3.9). Words that people's programs write are left out, such as
//! `first-class`, `special-delivery` and `normal`.

use super::field::{FieldEntry, Value};

/// The rule `precedence`.
#[rustfmt::skip]
pub static PRECEDENCE: &[FieldEntry] = &[
    entry("Precedence", "bulk", "sendmail; vacation, Gmail, ticket systems, most list managers"),
    entry("Precedence", "junk", "sendmail; vacation, PostfixAdmin"),
    entry("Precedence", "list", "sendmail; Mailman, SmartList, Google Groups"),
    entry("Precedence", "auto_reply", "cPanel autoresponder and BoxTrapper"),
    entry("Precedence", "auto-reply", "a spelling that SpamAssassin's 20_vbounce.cf allows for"),
    entry("Precedence", "autoreply", "a spelling that SpamAssassin's 20_vbounce.cf allows for"),
    entry("Precedence", "auto_response", "a spelling that SpamAssassin's 20_vbounce.cf allows for"),
    entry("Precedence", "auto", "a spelling that SpamAssassin's 20_vbounce.cf allows for"),
    entry("Precedence", "spam", "challenge-response systems, SpamAssassin's 20_vbounce.cf"),
    entry("X-Precedence", "bulk", "newsletters beside Precedence"),
    entry("X-Precedence", "junk", "cPanel autoresponder"),
    entry("X-Precedence", "list", "newsletters beside Precedence"),
    entry("X-Precedence", "auto_reply", "cPanel autoresponder and BoxTrapper"),
    entry("Preference", "auto_reply", "cPanel autoresponder and BoxTrapper"),
];

const fn entry(field: &'static str, word: &'static str, source: &'static str) -> FieldEntry {
    FieldEntry {
        field,
        value: Value::Word(word),
        source,
    }
}
