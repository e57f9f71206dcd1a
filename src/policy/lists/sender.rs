//! The local parts of mail systems, list managers and robots. A person's address
//! must not match: bare `bounces@`, `request@`, `owner@`, `root@` or `admin@` may be
//! anybody's, and so may `bounce-castles@`.

use crate::mail::Address;

use super::relay::unwrap;

/// A form of local part that is no person's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SenderEntry {
    /// The form of the local part, in any case.
    pub(crate) form: Form,
    /// The kind of program that sends from it.
    pub(crate) role: Role,
    /// The program that sends from it, or the document that says so.
    #[cfg_attr(not(test), expect(dead_code, reason = "for the reader of the table"))]
    pub(crate) source: &'static str,
}

/// The form of a local part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Exactly this, perhaps with an extension after a `+`.
    Is(&'static str),
    /// Begins with this and goes on.
    Begins(&'static str),
    /// Begins with this and goes on with a machine's tag: with a `=` or with three
    /// digits.
    BeginsTagged(&'static str),
    /// Some text and then this, perhaps with an extension after a `+`.
    Ends(&'static str),
    /// Some text, this, and some text.
    Contains(&'static str),
    /// Some text, this, and a number.
    ContainsNumbered(&'static str),
    /// Has words that are this when run together: `noreply`, `no-reply-7`, `orders.no_reply`.
    Says(&'static str),
}

/// The kind of program that sends from a local part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A mail system, about mail.
    MailSystem,
    /// A list manager, for a list.
    ListManager,
    /// A program that wants no answer.
    NoReply,
}

impl Role {
    /// The owner of the address, in words.
    pub(crate) const fn in_words(self) -> &'static str {
        match self {
            Role::MailSystem => "a mail system's",
            Role::ListManager => "a list manager's",
            Role::NoReply => "one that wants no answer",
        }
    }
}

const fn mail_system(name: &'static str, source: &'static str) -> SenderEntry {
    SenderEntry {
        form: Form::Is(name),
        role: Role::MailSystem,
        source,
    }
}

const fn list(form: Form, source: &'static str) -> SenderEntry {
    SenderEntry {
        form,
        role: Role::ListManager,
        source,
    }
}

const fn no_reply(words: &'static str, source: &'static str) -> SenderEntry {
    SenderEntry {
        form: Form::Says(words),
        role: Role::NoReply,
        source,
    }
}

/// The rules `return-path` and `reply-target`, and fields with addresses.
#[rustfmt::skip]
pub(crate) static SENDERS: &[SenderEntry] = &[
    // Mail systems
    mail_system("mailer-daemon", "RFC 3834 2; Postfix, sendmail, qmail, Exim, Gmail, Yahoo"),
    mail_system("mailer-deamon", "a misspelling that SpamAssassin's 20_vbounce.cf knows"),
    mail_system("mailer_daemon", "a variant of mailer-daemon"),
    mail_system("mailerdaemon", "a variant of mailer-daemon"),
    mail_system("mailer.daemon", "a variant of mailer-daemon"),
    mail_system("mail-daemon", "a variant of mailer-daemon"),
    mail_system("maildaemon", "a variant of mailer-daemon"),
    mail_system("mail.delivery.system", "seen in collections of bounces"),
    mail_system("mail-delivery-system", "a variant of mail.delivery.system"),
    mail_system("mail-delivery-subsystem", "sendmail's and Gmail's name beside mailer-daemon"),
    mail_system("postmaster", "RFC 5321 4.5.1; Exchange, Domino, MIMEsweeper, IMail"),
    mail_system("post_master", "au one (EZweb) bounces"),
    mail_system("double-bounce", "Postfix double_bounce_sender"),
    mail_system("#", "qmail's double bounces, #@[]"),
    mail_system("devnull", "SpamAssassin's 20_vbounce.cf"),
    mail_system("quotaagent", "iPlanet quota notices, SpamAssassin's 20_vbounce.cf"),
    mail_system("microsoftexchange329e71ec88ae4615bbc36ab6ce41109e", "Exchange's system sender"),
    mail_system("autoresponder", "qmail autorespond, SpamAssassin's 20_vbounce.cf"),
    mail_system("autoreply", "autoresponders with an address of their own"),
    mail_system("auto-reply", "autoresponders with an address of their own"),
    mail_system("automated-response", "SpamAssassin's 20_vbounce.cf"),
    mail_system("auto-responder", "a variant of autoresponder"),
    mail_system("autoresponse", "autoresponders with an address of their own"),
    mail_system("auto-response", "a variant of autoresponse"),
    mail_system("autoanswer", "procmail's FROM_DAEMON"),
    mail_system("fetchmail-daemon", "fetchmail's notices"),
    mail_system("symantec_antivirus_for_smtp_gateways", "Symantec's own sender"),
    mail_system("spamblocker-challenge", "EarthLink's challenges, SpamAssassin's 20_vbounce.cf"),
    // List managers
    list(Form::Is("majordomo"), "Majordomo"),
    list(Form::Is("listserv"), "RFC 3834 2; LISTSERV"),
    list(Form::Is("listproc"), "ListProcessor"),
    list(Form::Is("mailman"), "Mailman's own address"),
    list(Form::Is("sympa"), "Sympa's own address"),
    list(Form::Is("ecartis"), "Ecartis"),
    list(Form::Begins("owner-"), "RFC 3834 2; Majordomo, LISTSERV, Sympa, sendmail aliases"),
    list(Form::Ends("-owner"), "Sympa, ezmlm, Mailman 3"),
    list(Form::Ends("-request"), "RFC 2142 6, RFC 3834 2; Mailman, SmartList"),
    list(Form::Ends("-bounces"), "Mailman; its VERP is list-bounces+user=domain"),
    list(Form::Ends("-bounce"), "Ecartis, mailing services"),
    list(Form::Ends("-listmaster"), "Sympa"),
    list(Form::Ends("-subscribe"), "ezmlm, Mailman's commands"),
    list(Form::Ends("-unsubscribe"), "ezmlm, Mailman's commands"),
    list(Form::Ends("+owner"), "mlmmj"),
    list(Form::Ends("+owners"), "Google Groups"),
    list(Form::Ends("+subscribe"), "mlmmj, Google Groups"),
    list(Form::Ends("+unsubscribe"), "mlmmj, Google Groups"),
    list(Form::Contains("-confirm+"), "Mailman's requests to confirm, list-confirm+tag"),
    list(Form::Contains("+bounces-"), "mlmmj's VERP"),
    list(Form::Contains("+bnc"), "Google Groups"),
    list(Form::ContainsNumbered("-return-"), "ezmlm's VERP, list-return-7-user=domain"),
    list(Form::ContainsNumbered("-bounce-"), "mailing services, list-bounce-7-tag"),
    list(Form::BeginsTagged("sentto-"), "Yahoo Groups"),
    list(Form::BeginsTagged("bounce-"), "mailing services, bounce-7-user=domain"),
    list(Form::BeginsTagged("bounces-"), "mailing services"),
    list(Form::BeginsTagged("bounce_"), "mailing services"),
    list(Form::Begins("bounce+"), "Sympa's VERP, groups.io"),
    list(Form::Begins("bounces+"), "mailing services"),
    // Programs that say they want no answer
    no_reply("noreply", "programs of all kinds"),
    no_reply("donotreply", "programs of all kinds"),
    no_reply("dontreply", "programs of all kinds"),
    no_reply("noresponder", "Spanish programs"),
    no_reply("noresponda", "Spanish programs"),
    no_reply("naoresponda", "Portuguese programs"),
    no_reply("naoresponder", "Portuguese programs"),
    no_reply("nepasrepondre", "French programs"),
    no_reply("nonrispondere", "Italian programs"),
    no_reply("keineantwort", "German programs"),
    no_reply("nichtantworten", "German programs"),
];

/// The entry of a local part, after the relays' wrapping is undone.
#[must_use]
pub(crate) fn role_of(local: &str) -> Option<&'static SenderEntry> {
    let lower = local.to_lowercase();
    let own = unwrap(&lower)?;
    SENDERS.iter().find(|entry| entry.form.matches(own))
}

/// Whether a local part ends with the address that the message was sent to. List
/// managers and mailing services write such variable envelope return paths, by which
/// they recognise the recipient of a bounce.
#[must_use]
pub(crate) fn is_verp_to(local: &str, recipient: &Address) -> bool {
    let lower = local.to_lowercase();
    let tag = format!(
        "{}={}",
        recipient.local().to_lowercase(),
        recipient.domain()
    );
    unwrap(&lower)
        .and_then(|own| own.strip_suffix(&tag))
        .is_some_and(|start| start.ends_with(['-', '+', '=', '.', '_']))
}

impl Form {
    /// Whether a local part in lower case has this form.
    fn matches(self, local: &str) -> bool {
        match self {
            Form::Is(name) => without_extension(local) == name,
            Form::Begins(start) => tag(local, start).is_some(),
            Form::BeginsTagged(start) => tag(local, start).is_some_and(is_machines),
            Form::Ends(end) => ends(local, end) || ends(without_extension(local), end),
            Form::Contains(middle) => parts(local, middle).is_some(),
            Form::ContainsNumbered(middle) => parts(local, middle)
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())),
            Form::Says(words) => says(local, words),
        }
    }
}

/// The text behind `start`, if there is any.
fn tag<'a>(local: &'a str, start: &str) -> Option<&'a str> {
    local.strip_prefix(start).filter(|tag| !tag.is_empty())
}

fn is_machines(tag: &str) -> bool {
    tag.contains('=') || tag.chars().filter(char::is_ascii_digit).nth(2).is_some()
}

/// Whether some words of a local part, run together, are `all`. Anything but letters
/// separates words.
fn says(local: &str, all: &str) -> bool {
    let words: Vec<_> = local
        .split(|c: char| !c.is_alphabetic())
        .filter(|word| !word.is_empty())
        .collect();
    (0..words.len()).any(|start| {
        let mut rest = all;
        for word in words.iter().skip(start) {
            match rest.strip_prefix(word) {
                Some("") => return true,
                Some(more) => rest = more,
                None => return false,
            }
        }
        false
    })
}

fn ends(local: &str, end: &str) -> bool {
    local
        .strip_suffix(end)
        .is_some_and(|start| !start.is_empty())
}

fn without_extension(local: &str) -> &str {
    local.split('+').next().unwrap_or(local)
}

/// The text behind `middle`, if there is text before and behind it.
fn parts<'a>(local: &'a str, middle: &str) -> Option<&'a str> {
    let (before, after) = local.split_once(middle)?;
    (!before.is_empty() && !after.is_empty()).then_some(after)
}
