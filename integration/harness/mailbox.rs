//! Maildirs to wait at.

use std::{fs, path::PathBuf, time::Duration};

use super::{Mail, until};

/// A reply comes within a second. A loaded machine may need longer, but a
/// worker that sleeps through an arrival must not pass.
const PATIENCE: Duration = Duration::from_secs(20);

/// A person's mailbox.
pub struct Mailbox {
    directory: PathBuf,
}

impl Mailbox {
    /// The Maildir in which virtual(8) delivers.
    pub fn new(maildir: PathBuf) -> Self {
        Self {
            directory: maildir.join("new"),
        }
    }

    /// All mails that have arrived.
    pub fn mails(&self) -> Vec<Mail> {
        let paths = self.paths().into_iter();
        paths
            .map(|path| Mail::new(fs::read(path).expect("a mail")))
            .collect()
    }

    /// Takes all mails that have arrived out of it.
    pub fn take_all(&self) -> Vec<Mail> {
        let paths = self.paths().into_iter();
        paths
            .map(|path| {
                let mail = Mail::new(fs::read(&path).expect("a mail"));
                fs::remove_file(path).expect("a mail");
                mail
            })
            .collect()
    }

    fn paths(&self) -> Vec<PathBuf> {
        // Before the first mail there is no Maildir.
        let Ok(entries) = fs::read_dir(&self.directory) else {
            return Vec::new();
        };
        let mut paths: Vec<PathBuf> = entries
            .map(|entry| entry.expect("an entry").path())
            .collect();
        paths.sort();
        paths
    }

    /// Waits for the one mail that `wanted` describes.
    pub fn wait_for(&self, what: &str, wanted: impl Fn(&Mail) -> bool) -> Mail {
        until(what, PATIENCE, || {
            self.mails().into_iter().find(|mail| wanted(mail))
        })
    }

    /// Waits for the reply to the request with this Subject.
    pub fn wait_for_reply(&self, subject: &str) -> Mail {
        let expected = format!("Auto: {subject}");
        self.wait_for(&expected, |mail| {
            mail.header("Subject").as_deref() == Some(&expected)
        })
    }

    /// Waits until at least `count` mails are there, as long as more arrive.
    pub fn wait_for_count(&self, count: usize) -> Vec<Mail> {
        let mut mails = self.mails();
        while mails.len() < count {
            let arrived = mails.len();
            let what = format!("the next of {count} mails, {arrived} are there");
            mails = until(&what, PATIENCE, || {
                Some(self.mails()).filter(|mails| mails.len() > arrived)
            });
        }
        mails
    }
}
