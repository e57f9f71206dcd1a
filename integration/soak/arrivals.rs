//! Mail that arrives in the mailboxes. It is taken out as it comes, so that a long
//! run leaves no heap of mail, and noted for those who wait for it.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
};

use super::harness::{ALICE, BOB, CAROL, Mail, Mailbox, Site};

/// All mail that came, whoever it was for.
pub struct Arrivals {
    mailboxes: Vec<Mailbox>,
    found: Mutex<Found>,
}

#[derive(Default)]
pub struct Found {
    /// How many final replies came to a request, by its Message-ID.
    pub replies: BTreeMap<String, usize>,
    pub notices: usize,
    /// How many times other mail came, by its Message-ID.
    pub others: BTreeMap<String, usize>,
    /// Final replies that nobody has read yet, by the request's Message-ID.
    unread: BTreeMap<String, Mail>,
}

impl Arrivals {
    pub fn at(site: &Site) -> Self {
        Self {
            mailboxes: [ALICE, BOB, CAROL]
                .map(|person| site.mailbox(person))
                .into(),
            found: Mutex::default(),
        }
    }

    /// The final reply to this request, if it has come.
    pub fn reply_to(&self, message_id: &str) -> Option<Mail> {
        self.collected().unread.remove(message_id)
    }

    /// All that came until now.
    pub fn collected(&self) -> MutexGuard<'_, Found> {
        let mut found = self.found.lock().expect("nobody failed");
        for mailbox in &self.mailboxes {
            for mail in mailbox.take_all() {
                found.note(mail);
            }
        }
        found
    }
}

impl Found {
    fn note(&mut self, mail: Mail) {
        if mail.header("X-Gateway-Result").is_none() {
            let id = mail.header("Message-ID").expect("a Message-ID");
            *self.others.entry(id).or_default() += 1;
            return;
        }
        if mail.result()[0] == "Notice" {
            self.notices += 1;
            return;
        }
        let id = mail.header("In-Reply-To").expect("what it answers");
        *self.replies.entry(id.clone()).or_default() += 1;
        self.unread.insert(id, mail);
    }
}
