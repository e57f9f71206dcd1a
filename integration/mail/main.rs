//! Mail through a real Postfix: requests are answered, and other mail passes as
//! if the gateway were not there.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on shall panic"
)]

#[path = "../harness/mod.rs"]
mod harness;

/// The services by mail, and the guarantees on replies.
mod first_light;

/// Mail clients rewrap and encode a request: the same keys are issued.
mod mail_clients;

/// The addresses of the gateway, and archives and signatures of an admin.
mod addresses;

/// One message or two: copies, and mail that is offered again.
mod same_message;

/// Other mail arrives byte for byte.
mod other_mail;

/// Many requests at once.
mod load;
