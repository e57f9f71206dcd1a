//! The tests share this: a private mail site with the gateway beside it, an SMTP
//! client that sends exactly what it is given, mailboxes to wait at, and security
//! modules; also a milter client and a gateway that need no Postfix. Nothing of it
//! outlives a test, failed or not.

#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "each test uses its part, and a test that can't go on shall panic"
)]

mod address;
mod command;
mod descriptors;
mod disk;
mod dkim;
mod dovecot;
mod gateway;
pub mod hostile;
pub mod hostile_peers;
mod house;
mod installer;
mod lock;
mod mail;
mod mailbox;
mod memory_limit;
mod milter;
mod module;
mod pages;
mod people;
mod postfix;
mod postgresql;
mod rbldnsd;
mod reference_kms;
mod signer;
mod site;
mod smtp;
mod strace;
mod stsa;
mod usage;
mod wait;

pub use self::{
    command::{Output, output, python, run, words},
    descriptors::allow_descriptors,
    disk::SmallDisk,
    dkim::{DkimKey, OpenDkim},
    dovecot::Dovecot,
    gateway::{Gateway, kms_gateway},
    house::{House, ask, begin, pairs, request_fields, request_with, send, taken},
    installer::{Files, Installer, shim},
    lock::Lock,
    mail::{Draft, Mail},
    mailbox::Mailbox,
    memory_limit::MemoryLimit,
    milter::{EndAnswer, Milter, Packet, packet},
    module::{IndependentModule, Module, OpenedKey, SoftwareModule, labelled_key},
    pages::{Exported, Page, Pages},
    people::{ALICE, BOB, CAROL, GATEWAY},
    postfix::Postfix,
    postgresql::{DATABASE, Postgresql},
    rbldnsd::{Rbldnsd, SlowWay, WELL, WELL_V6},
    reference_kms::{Impostor, ReferenceKms},
    signer::{Manner, Signer},
    site::{Layout, Site},
    smtp::{Reply, Smtp},
    strace::{Call, calls},
    stsa::{DECLARED, STSA, Stsa, with_attachment},
    usage::Usage,
    wait::until,
};
