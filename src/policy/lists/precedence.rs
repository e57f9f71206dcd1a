//! The words of Precedence that mean bulk or automatic mail. The field has no
//! standard (RFC 2076 3.9). Words that people's programs write are left out, such as
//! `first-class`, `special-delivery` and `normal`.

use super::field::{FieldEntry, word};

/// The rule `precedence`.
#[rustfmt::skip]
pub(crate) static PRECEDENCE: &[FieldEntry] = &[
    word("Precedence", "bulk", "sendmail; vacation, Gmail, ticket systems, most list managers"),
    word("Precedence", "junk", "sendmail; vacation, PostfixAdmin"),
    word("Precedence", "list", "sendmail; Mailman, SmartList, Google Groups"),
    word("Precedence", "auto_reply", "cPanel autoresponder and BoxTrapper"),
    word("Precedence", "auto-reply", "a spelling that SpamAssassin's 20_vbounce.cf allows for"),
    word("Precedence", "autoreply", "a spelling that SpamAssassin's 20_vbounce.cf allows for"),
    word("Precedence", "auto_response", "a spelling that SpamAssassin's 20_vbounce.cf allows for"),
    word("Precedence", "auto", "a spelling that SpamAssassin's 20_vbounce.cf allows for"),
    word("Precedence", "spam", "challenge-response systems, SpamAssassin's 20_vbounce.cf"),
    word("X-Precedence", "bulk", "newsletters beside Precedence"),
    word("X-Precedence", "junk", "cPanel autoresponder"),
    word("X-Precedence", "list", "newsletters beside Precedence"),
    word("X-Precedence", "auto_reply", "cPanel autoresponder and BoxTrapper"),
    word("Preference", "auto_reply", "cPanel autoresponder and BoxTrapper"),
];
