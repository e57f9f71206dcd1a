//! The rule table: what the gateway does with a message, and why. Rules are
//! looked at in this order and the first that matches decides. A rule is
//! added by a name, a row at its place, and a check; what its check needs
//! from outside becomes a field of the facts.

use super::checks::{addressing, authentication, automatic, envelope, own, sender, service, shape};
use super::rule::{Check, Listeners, Rule, RuleName};

/// The rules in order.
pub static RULES: &[Rule] = &[
    Rule {
        name: RuleName::NotForGateway,
        listeners: Listeners::OuterOnly,
        source: "STS600-9-2 4",
        summary: "no envelope recipient is the gateway",
        unanswered: None,
        check: Check::Envelope(envelope::not_for_gateway),
    },
    Rule {
        name: RuleName::Dnsbl,
        listeners: Listeners::OuterOnly,
        source: "STS600-9-2 8.2, RFC 5782",
        summary: "rejects a client that DNS blocklists list: the score reaches the threshold",
        unanswered: Some(
            "Your mail server is on a block list. It then gets an error, and tells you by a bounce.",
        ),
        check: Check::Dnsbl(envelope::dnsbl),
    },
    Rule {
        name: RuleName::ReturnPath,
        listeners: Listeners::All,
        source: "STS600-9-2 8.2, RFC 3834 2",
        summary: "null or invalid reverse path, or a mail system or list manager as the sender",
        unanswered: Some(
            "The envelope sender (Return-Path), which your mail server sets, was empty, no valid address, or that of a mail system or list.",
        ),
        check: Check::Message(sender::return_path),
    },
    Rule {
        name: RuleName::OwnMail,
        listeners: Listeners::All,
        source: "STS600-9-2 4, 8.3.2",
        summary: "from the gateway itself, with its X-Loop, or with any gateway's X-Gateway-Result",
        unanswered: Some(
            "It came from the gateway itself, or is a reply of a gateway that was sent back (X-Gateway-Result).",
        ),
        check: Check::Message(own::own_mail),
    },
    Rule {
        name: RuleName::Hops,
        listeners: Listeners::All,
        source: "STS600-9-2 4, RFC 5321 6.3",
        summary: "more Received fields than the limit",
        unanswered: Some("It passed so many mail servers that it was going round in circles."),
        check: Check::Message(own::hops),
    },
    Rule {
        name: RuleName::Malformed,
        listeners: Listeners::All,
        source: "STS600-9-2 4, RFC 5322 3.6",
        summary: "two From or two Subject fields, no From and no Sender, or a header over its limits",
        unanswered: Some(
            "It had two From or two Subject fields, nobody in From, or far too long a header.",
        ),
        check: Check::Message(shape::malformed),
    },
    Rule {
        name: RuleName::AutoSubmitted,
        listeners: Listeners::All,
        source: "STS600-9-2 8.2, RFC 3834 5",
        summary: "Auto-Submitted other than no",
        unanswered: Some(
            "It said that no person sent it (Auto-Submitted). Programs leave that field out.",
        ),
        check: Check::Message(automatic::auto_submitted),
    },
    Rule {
        name: RuleName::Precedence,
        listeners: Listeners::All,
        source: "STS600-9-2 4, RFC 3834 3.1.8",
        summary: "Precedence of bulk or automatic mail",
        unanswered: Some("It said that it is bulk, list or automatic mail (Precedence)."),
        check: Check::Message(automatic::precedence),
    },
    Rule {
        name: RuleName::MailingList,
        listeners: Listeners::All,
        source: "STS600-9-2 4, RFC 2369, RFC 2919",
        summary: "a field that list managers write",
        unanswered: Some("It came by a mailing list."),
        check: Check::Message(automatic::mailing_list),
    },
    Rule {
        name: RuleName::AutoResponder,
        listeners: Listeners::All,
        source: "STS600-9-2 8.2",
        summary: "a field that autoresponders, ticket systems, challenges or bounces write",
        unanswered: Some(
            "It had a header that only automatic answers, ticket systems or bounces have.",
        ),
        check: Check::Message(automatic::auto_responder),
    },
    Rule {
        name: RuleName::Report,
        listeners: Listeners::All,
        source: "STS600-9-2 4, RFC 6522",
        summary: "a delivery report, receipt, feedback report or calendar reply",
        unanswered: Some("It was a delivery report, a receipt, or the answer to an invitation."),
        check: Check::Message(automatic::report),
    },
    Rule {
        name: RuleName::NotInTo,
        listeners: Listeners::All,
        source: "STS600-9-2 4",
        summary: "the gateway is not in To",
        unanswered: Some("The gateway's address was in Cc or Bcc and not in To."),
        check: Check::Message(addressing::not_in_to),
    },
    Rule {
        name: RuleName::Subject,
        listeners: Listeners::All,
        source: "STS600-9-2 4, 8.2",
        summary: "the Subject does not begin with a service code",
        unanswered: Some(
            "The Subject did not begin with a service code. Replies (Re:), forwards (Fw:) and automatic answers (Auto:) do not either: write a new message.",
        ),
        check: Check::Message(service::subject),
    },
    Rule {
        name: RuleName::ReplyTarget,
        listeners: Listeners::All,
        source: "STS600-9-2 8.3.1",
        summary: "no address is left to answer",
        unanswered: Some(
            "There was no address to answer: Reply-To, From and Sender had none, or the gateway's own.",
        ),
        check: Check::Message(addressing::reply_target),
    },
    Rule {
        name: RuleName::Size,
        listeners: Listeners::All,
        source: "STS600-9-2 4",
        summary: "larger than the limit, or with attachments that the service does not expect",
        unanswered: Some(
            "It was too large, or had large attachments that the service does not ask for.",
        ),
        check: Check::Message(shape::size),
    },
    Rule {
        name: RuleName::SenderAuthentication,
        listeners: Listeners::All,
        source: "STS600-9-2 4, RFC 3834 5, RFC 8601",
        summary: "the site's own Authentication-Results say that SPF and DKIM failed, or DMARC; or nothing passed where that is required",
        unanswered: Some(
            "SPF, DKIM or DMARC, by which a mail server proves that mail is its domain's, did not pass for yours.",
        ),
        check: Check::Message(authentication::sender_authentication),
    },
    Rule {
        name: RuleName::Blocked,
        listeners: Listeners::All,
        source: "STS600-9-2 4",
        summary: "its sender was far over its allowance and is blocked for a time",
        unanswered: Some("You were blocked for sending too much; a notice said until when."),
        check: Check::Store,
    },
    Rule {
        name: RuleName::Flood,
        listeners: Listeners::All,
        source: "STS600-9-2 4",
        summary: "its sender is over its allowance: the message is kept and done later",
        unanswered: None,
        check: Check::Store,
    },
    Rule {
        name: RuleName::Crowded,
        listeners: Listeners::All,
        source: "STS600-9-2 4",
        summary: "a stranger's, beyond the strangers' share of the spool or of the notices: not taken for now",
        unanswered: Some(
            "Too many strangers asked at once. Your mail server then keeps your message, and tries again for some days.",
        ),
        check: Check::Store,
    },
];
