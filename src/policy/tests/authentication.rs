//! The rule `sender-authentication`, and the mail that counts as authenticated.

use super::Mail;
use crate::policy::{Listener, RuleName, Verdict};

/// Jane's request, with what this site's verifiers say of it.
fn verified(fields: &[&str]) -> Mail {
    let mut mail = Mail::request();
    mail.settings.authentication.authserv_ids = vec!["mx.kms.example.org".to_owned()];
    fields.iter().fold(mail, |mail, field| {
        mail.with("Authentication-Results", field)
    })
}

fn required(fields: &[&str]) -> Mail {
    let mut mail = verified(fields);
    mail.settings.authentication.require = true;
    mail
}

/// The authenticated author, by whom the throttle counts.
fn author(mail: &Mail) -> Option<String> {
    let judgement = mail.judge();
    let asked = judgement.asked().unwrap_or_else(|| panic!("{judgement:?}"));
    asked.authenticated.as_ref().map(ToString::to_string)
}

const OURS: &str = "mx.kms.example.org; ";

fn ours(results: &str) -> String {
    format!("{OURS}{results}")
}

#[test]
fn mail_that_failed_is_ignored() {
    for results in [
        "spf=fail smtp.mailfrom=vendor.example; dkim=fail header.d=vendor.example",
        "dkim=fail (bad signature) header.d=vendor.example; spf=softfail smtp.mailfrom=vendor.example",
        "DMARC=Fail (p=none dis=none) header.from=vendor.example",
        "spf=pass smtp.mailfrom=spammer.example; dmarc=fail header.from=vendor.example",
        "dkim=fail header.d=a.example; dkim=fail header.d=b.example; spf=fail",
    ] {
        verified(&[&ours(results)]).is_ignored_by(RuleName("sender-authentication"));
    }
    // One verifier, one field.
    let reason = verified(&[&ours("dkim=fail"), &ours("spf=fail")])
        .is_ignored_by(RuleName("sender-authentication"));
    assert_eq!(reason, "SPF and DKIM both failed");
    let reason = verified(&[&ours("dmarc=fail header.from=vendor.example")])
        .is_ignored_by(RuleName("sender-authentication"));
    assert_eq!(reason, "DMARC failed for \"vendor.example\"");
}

#[test]
fn mail_that_merely_did_not_pass_is_answered() {
    for results in [
        "none",
        "spf=fail",
        "dkim=fail",
        "spf=softfail; dkim=none",
        "spf=none; dkim=fail",
        "spf=neutral; dkim=fail",
        "spf=temperror; dkim=fail",
        "spf=fail; dkim=temperror",
        "spf=fail; dkim=fail; dmarc=pass header.from=vendor.example",
        "spf=fail; dkim=fail header.d=list.example; dkim=pass header.d=vendor.example",
        "dmarc=none",
        "dmarc=temperror",
        "arc=fail; auth=fail; iprev=fail",
    ] {
        verified(&[&ours(results)]).is_answered();
    }
    verified(&[]).is_answered();
}

#[test]
fn other_hosts_are_not_believed() {
    let failed = "spf=fail; dkim=fail; dmarc=fail";
    for id in [
        "mx.other.example",
        "kms.example.org",
        "x.mx.kms.example.org",
        "mx.kms.example.org.evil.example",
        "mx.kms.example.org.evil.example/4FABCD1234",
        "mx.other.example/mx.kms.example.org",
        "mx.kms.example.org../4FABCD1234",
        "/mx.kms.example.org",
        "(mx.kms.example.org) mx.other.example",
        "\"mx.kms.example.org \"",
    ] {
        verified(&[&format!("{id}; {failed}")]).is_answered();
        let passed = format!("{id}; dmarc=pass header.from=vendor.example");
        required(&[&passed]).is_ignored_by(RuleName("sender-authentication"));
    }
    for id in [
        "MX.KMS.example.ORG",
        "mx.kms.example.org 1",
        "\"mx.kms.example.org\"",
        "(a) mx.kms.example.org (b)",
        "mx.kms.example.org.",
        "mx.kms.example.org/4FABCD1234",
        "\"MX.kms.example.org/4FABCD1234\"",
        "mx.kms.example.org./4F/AB",
        "mx.kms.example.org/",
    ] {
        verified(&[&format!("{id}; {failed}")]).is_ignored_by(RuleName("sender-authentication"));
    }
    verified(&["mx.other.example; dmarc=fail", &ours(failed)])
        .is_ignored_by(RuleName("sender-authentication"));
}

/// An outsider's forged field stands below the verifiers' own.
#[test]
fn of_each_method_the_topmost_word_counts() {
    let forged = "dmarc=pass header.from=vendor.example; dkim=pass header.d=vendor.example; \
                  spf=pass smtp.mailfrom=vendor.example";
    let genuine = "spf=none; dkim=none; dmarc=none";
    required(&[&ours(genuine), &ours(forged)]).is_ignored_by(RuleName("sender-authentication"));
    let one_by_one = ["dmarc=none", "dkim=none", "spf=none", forged].map(ours);
    let one_by_one = one_by_one.each_ref().map(String::as_str);
    required(&one_by_one).is_ignored_by(RuleName("sender-authentication"));
    verified(&[&ours("dmarc=fail"), &ours(forged)])
        .is_ignored_by(RuleName("sender-authentication"));
    // Several signatures have their results in one field.
    let signatures = "dkim=fail header.d=list.example; dkim=pass header.d=vendor.example";
    let mail = required(&[&ours(signatures), &ours("dkim=none")]);
    assert_eq!(author(&mail).as_deref(), Some("jane@vendor.example"));
}

/// A verifier that writes one form may let the other one by.
#[test]
fn the_topmost_field_says_whether_a_job_stands_behind_the_host() {
    let with_job = |results: &str| format!("mx.kms.example.org/4FABCD1234; {results}");
    let passed = "dkim=pass header.d=vendor.example";
    assert_eq!(
        author(&required(&[&with_job("spf=none"), &with_job(passed)])).as_deref(),
        Some("jane@vendor.example")
    );
    for (topmost, forged) in [
        (ours("spf=none"), with_job(passed)),
        (with_job("spf=none"), ours(passed)),
    ] {
        required(&[&topmost, &forged]).is_ignored_by(RuleName("sender-authentication"));
    }
}

#[test]
fn an_authserv_id_may_be_configured_in_each_form() {
    for id in ["MX.kms.example.org.", "mx.kms.example.org/job"] {
        let mut mail = verified(&[&ours("dmarc=fail")]);
        mail.settings.authentication.authserv_ids = vec![id.to_owned()];
        mail.is_ignored_by(RuleName("sender-authentication"));
    }
    for id in ["", ".", "/mx.kms.example.org"] {
        let mut mail = verified(&["; dmarc=fail", "/; dmarc=fail", &ours("dmarc=fail")]);
        mail.settings.authentication.authserv_ids = vec![id.to_owned()];
        mail.is_answered();
    }
}

#[test]
fn without_an_authserv_id_nobody_is_believed() {
    let mut mail = verified(&[&ours("spf=fail; dkim=fail; dmarc=fail")]);
    mail.settings.authentication.authserv_ids.clear();
    mail.is_answered();
    let mut mail = verified(&[&ours("dmarc=pass header.from=vendor.example")]);
    mail.settings.authentication.authserv_ids.clear();
    assert_eq!(author(&mail), None);
}

#[test]
fn what_passes_in_alignment_is_the_authors() {
    for results in [
        "spf=pass smtp.mailfrom=jane@vendor.example",
        "spf=pass smtp.mailfrom=vendor.example",
        "spf=pass smtp.mailfrom=bounce.vendor.example",
        "spf=pass smtp.mailfrom=prvs=0123=jane@Vendor.Example",
        "dkim=pass header.d=vendor.example",
        "dkim=pass header.i=@mail.vendor.example",
        "dkim=pass header.i=@other.example header.d=vendor.example",
        "dkim=fail header.d=list.example; dkim=pass header.d=vendor.example.",
        "dmarc=pass header.from=vendor.example",
        "dmarc=pass",
    ] {
        let mail = required(&[&ours(results)]);
        assert_eq!(
            author(&mail).as_deref(),
            Some("jane@vendor.example"),
            "{results}"
        );
    }
}

#[test]
fn what_passes_for_another_domain_is_not() {
    for results in [
        "spf=pass smtp.mailfrom=jane@other.example",
        "spf=pass smtp.helo=vendor.example",
        "spf=pass smtp.mailfrom=vendor.example.evil.test",
        "spf=pass smtp.mailfrom=notvendor.example",
        "spf=pass",
        "dkim=pass header.d=example",
        "dkim=pass header.d=other.example header.i=@vendor.example",
        "dmarc=pass header.from=other.example",
        "dkim=none header.d=vendor.example",
    ] {
        assert_eq!(author(&verified(&[&ours(results)])), None, "{results}");
        required(&[&ours(results)]).is_ignored_by(RuleName("sender-authentication"));
    }
}

/// Anybody may have a domain below a public suffix: it vouches for no sister.
#[test]
fn a_public_suffix_aligns_nothing() {
    let from =
        |address: &str, results: &str| author(&verified(&[&ours(results)]).having("From", address));
    assert_eq!(
        from(
            "jane@mail.vendor.co.za",
            "spf=pass smtp.mailfrom=vendor.co.za"
        ),
        Some("jane@mail.vendor.co.za".to_owned())
    );
    assert_eq!(
        from("jane@vendor.co.za", "spf=pass smtp.mailfrom=evil.co.za"),
        None
    );
    assert_eq!(from("jane@vendor.co.za", "dkim=pass header.d=co.za"), None);
    assert_eq!(from("jane@co.za", "dkim=pass header.d=evil.co.za"), None);
    assert_eq!(
        from(
            "jane@münchen.example",
            "dkim=pass header.d=xn--mnchen-3ya.example"
        ),
        Some("jane@xn--mnchen-3ya.example".to_owned())
    );
    assert_eq!(
        from(
            "jane@xn--mnchen-3ya.example",
            "dkim=pass header.d=münchen.example"
        ),
        Some("jane@xn--mnchen-3ya.example".to_owned())
    );
}

#[test]
fn who_has_two_authors_has_none_that_is_known() {
    let mail =
        verified(&[&ours("dmarc=pass")]).having("From", "jane@vendor.example, joe@vendor.example");
    assert_eq!(author(&mail), None);
    let mail = verified(&[&ours("dmarc=pass")])
        .without("From")
        .with("Sender", "jane@vendor.example");
    assert_eq!(author(&mail), None);
}

#[test]
fn where_it_is_required_the_reason_says_what_was_found() {
    let reason = required(&[]).is_ignored_by(RuleName("sender-authentication"));
    assert_eq!(reason, "there are no Authentication-Results of this site's");
    let reason = required(&[&ours("spf=none smtp.mailfrom=a@b.example; dkim=neutral")])
        .is_ignored_by(RuleName("sender-authentication"));
    assert_eq!(
        reason,
        "neither SPF nor DKIM passed for the author's domain: \"spf=none dkim=neutral\""
    );
}

#[test]
fn the_sites_own_clients_need_none() {
    let failed = ours("spf=fail; dkim=fail; dmarc=fail");
    let mut login = required(&[&failed]);
    login.client.authenticated = true;
    login.is_answered();
    let mut local = required(&[&failed]);
    local.client.address = Some([127, 0, 0, 1].into());
    local.is_answered();
    // There the client is our own Postfix, whoever the sender was.
    local.listener = Listener::Internal;
    assert_eq!(local.judge().verdict(), Verdict::Ignore);
}
