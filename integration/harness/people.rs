//! The addresses that have mailboxes at a site.

pub const GATEWAY: &str = "gateway@kms.example.org";
pub const ALICE: &str = "alice@vendor.example";
pub const BOB: &str = "bob@vendor.example";
pub const CAROL: &str = "carol@vendor.example";
