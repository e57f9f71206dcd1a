//! The services by mail through a real Postfix: what is guaranteed on replies
//! (8.3) holds, and what comes back is of use.

use std::{fs, process::Command, time::Duration};

use serde_json::{Value, json};

use crate::harness::{
    ALICE, Draft, GATEWAY, IndependentModule, Layout, Mail, Module, OpenedKey, Site,
    SoftwareModule, labelled_key, python, run, until,
};

/// Checks the guarantees on replies (8.3), and the demands of RFC 3834.
#[track_caller]
fn assert_guaranteed(reply: &Mail, request: &Draft) {
    let expect =
        |name: &str, value: &str| assert_eq!(reply.header(name).as_deref(), Some(value), "{name}");
    expect("Return-Path", "<>");
    expect("From", &format!("<{GATEWAY}>"));
    expect("To", &format!("<{ALICE}>"));
    expect("Subject", &format!("Auto: {}", request.header("Subject")));
    expect("In-Reply-To", request.header("Message-ID"));
    expect("References", request.header("Message-ID"));
    expect("Auto-Submitted", "auto-replied");
    expect("Precedence", "bulk");
    expect("X-Auto-Response-Suppress", "All");
    expect("X-Loop", GATEWAY);
    expect(
        "X-Gateway-Result",
        "Success\tThe operation completed successfully",
    );
    expect("MIME-Version", "1.0");
    let message_id = reply.header("Message-ID").unwrap();
    assert!(message_id.ends_with("@kms.example.org>"), "{message_id}");
    assert!(reply.header("Date").is_some());
    assert!(!reply.raw().contains(&b'\r'), "a bare CR in a reply");
}

fn media_type(mail: &Mail) -> String {
    let value = mail.header("Content-Type").unwrap();
    value.split(';').next().unwrap_or_default().to_owned()
}

#[test]
fn help_tells_how_to_use_the_gateway() {
    let site = Layout::new().start();
    let request = Draft::request("{KMS:Help} order-17", "Regards,\nUser\n");
    let reply = site.ask(&request);
    assert_guaranteed(&reply, &request);
    assert_eq!(media_type(&reply), "text/plain");
    let text = reply.text();
    for needed in [
        "{KMS:Help}",
        "{KMS:GetPublicKey}",
        "{KMS:GetKlfStsEd2}",
        "{KMS:SmUpdateStsEd2}",
        "EVkloadExpired",
        GATEWAY,
    ] {
        assert!(text.contains(needed), "{needed} is not in\n{text}");
    }
}

#[test]
fn the_public_key_is_the_kmcs_in_the_form_of_the_standards_example() {
    let site = Layout::new().start();
    let request = Draft::request("{KMS:GetPublicKey}", "");
    let reply = site.ask(&request);
    assert_guaranteed(&reply, &request);
    assert_eq!(media_type(&reply), "text/plain");
    let printed = site.layout.gateway(&["kmc", "public-key"]);
    let (fingerprint, record) = printed.split_once("\n\n").unwrap();
    let expected =
        format!("{fingerprint}\n\nPublic Key in STS600-4-2 Record-In-Email format:\n{record}");
    assert_eq!(
        reply.text().replace("\r\n", "\n").trim_end(),
        expected.trim_end()
    );
    assert!(expected.starts_with("KMC Public Key Fingerprint: "));
}

#[test]
fn a_key_load_file_opens_in_the_module_that_asked() {
    let site = Layout::new().start();
    let ours = SoftwareModule::new(&site.layout, "90000001");
    let independent = IndependentModule::new(&site.layout, "90000002");
    let modules: [(&str, &dyn Module); 2] = [("ours", &ours), ("independent", &independent)];

    let listed = site.layout.gateway(&["vending-key", "list"]);
    let at_the_kmc: Vec<OpenedKey> = listed.lines().map(labelled_key).collect();
    assert_eq!(at_the_kmc.len(), 2);
    let public_key = site.ask(&Draft::request("{KMS:GetPublicKey}", "")).text();
    for (name, module) in modules {
        let subject = format!("{{KMS:GetKlfStsEd2}} {name}");
        let request = Draft::request(&subject, &module.request(&public_key));
        let reply = site.ask(&request);
        assert_guaranteed(&reply, &request);
        assert_eq!(media_type(&reply), "multipart/mixed");
        let (file_name, attached_type, content) = reply.attachment();
        assert!(file_name.ends_with(".txt"), "{file_name}");
        assert_eq!(attached_type, "text/plain");
        assert_eq!(module.open(&content), at_the_kmc, "{name}");
    }
}

#[test]
fn a_request_serves_once_and_only_unchanged() {
    let site = Layout::new().start();
    let module = SoftwareModule::new(&site.layout, "90000001");
    let public_key = site.layout.gateway(&["kmc", "public-key"]);
    let request = module.request(&public_key);
    let first = site.ask(&Draft::request("{KMS:GetKlfStsEd2} first", &request));
    assert_eq!(first.result()[0], "Success");

    let again = site.ask(&Draft::request("{KMS:GetKlfStsEd2} again", &request));
    assert_eq!(again.result()[..2], ["Error", "EVkloadReplayed"]);
    let tampered = module.request(&public_key).replace("SOFT-1", "SOFT-2");
    let refused = site.ask(&Draft::request("{KMS:GetKlfStsEd2} tampered", &tampered));
    assert_eq!(refused.result()[..2], ["Error", "ERecordCrc"]);
}

#[test]
fn what_follows_the_service_code_comes_back_exactly() {
    let site = Layout::new().start();
    let long = "x".repeat(200);
    let words = "order 17 of many ".repeat(12).trim_end().to_owned();
    // The field as sent, and the text that it means.
    let cases = [
        (
            "{KMS:Help} order-17".to_owned(),
            "{KMS:Help} order-17".to_owned(),
        ),
        (
            "{KMS:Help}order  17".to_owned(),
            "{KMS:Help}order  17".to_owned(),
        ),
        (
            format!("{{KMS:Help}} {long}"),
            format!("{{KMS:Help}} {long}"),
        ),
        (
            format!("{{KMS:Help}} {words}"),
            format!("{{KMS:Help}} {words}"),
        ),
        (
            "{KMS:Help} folded\r\n  at two blanks".to_owned(),
            "{KMS:Help} folded  at two blanks".to_owned(),
        ),
        (
            "{KMS:Help} Größe 東京 €".to_owned(),
            "{KMS:Help} Größe 東京 €".to_owned(),
        ),
        (
            "{KMS:Help} =?utf-8?Q?Gr=C3=B6=C3=9Fe?= =?utf-8?B?IOadseS6rA==?=".to_owned(),
            "{KMS:Help} Größe 東京".to_owned(),
        ),
        (
            "=?iso-8859-1?Q?=7BKMS:Help=7D_na=EFve?=".to_owned(),
            "{KMS:Help} naïve".to_owned(),
        ),
        (
            format!("{{KMS:Help}} {}", "é".repeat(200)),
            format!("{{KMS:Help}} {}", "é".repeat(200)),
        ),
    ];
    let mut session = site.smtp();
    for (sent, _) in &cases {
        let accepted = session.send(ALICE, &[GATEWAY], &Draft::request(sent, "").to_bytes());
        assert_eq!(accepted.code, 250, "{sent:?}: {accepted:?}");
    }
    let replies = site.mailbox(ALICE).wait_for_count(cases.len());
    let mut subjects: Vec<Value> = replies
        .iter()
        .map(|reply| read_by_python(reply)["subject"].clone())
        .collect();
    let mut expected: Vec<Value> = cases
        .iter()
        .map(|(_, meant)| json!(format!("Auto: {meant}")))
        .collect();
    subjects.sort_by_key(Value::to_string);
    expected.sort_by_key(Value::to_string);
    assert_eq!(subjects, expected);
}

#[test]
fn a_requesters_program_reads_result_and_key_load_file() {
    let site = Layout::new().start();
    let module = IndependentModule::new(&site.layout, "90000002");
    let request = module.request(&site.layout.gateway(&["kmc", "public-key"]));
    let granted =
        read_by_python(&site.ask(&Draft::request("{KMS:GetKlfStsEd2} order-17", &request)));
    assert_eq!(
        granted["result"],
        json!(["Success", "The operation completed successfully"])
    );
    assert_eq!(granted["defects"], json!([]));
    let [attachment] = granted["attachments"].as_array().unwrap().as_slice() else {
        panic!("not one attachment: {granted}");
    };
    assert_eq!(attachment["type"], "text/plain");
    assert_eq!(attachment["disposition"], "attachment");
    assert_eq!(
        module
            .open(attachment["content"].as_str().unwrap().as_bytes())
            .len(),
        2
    );

    let refused = read_by_python(&ask_for_expired(&site, &module));
    assert_eq!(refused["result"][0], "Error");
    assert_eq!(refused["result"][1], "EVkloadExpired");
    assert_eq!(
        refused["result"][2],
        "The VKLOADREQ is stale; generate a fresh VKLOADREQ and try again"
    );
    // The gateway's time, so that a wrong clock is found.
    assert_eq!(
        refused["result"][3].as_str().unwrap().len(),
        "20200622T144047Z".len()
    );
    assert_eq!(refused["attachments"], json!([]));
}

/// A request that was made two days ago.
fn ask_for_expired(site: &Site, module: &IndependentModule) -> Mail {
    let two_days_ago = run(
        Command::new("date").args(["-u", "-d", "2 days ago", "+%Y%m%dT%H%M%SZ"]),
        b"",
    );
    let public_key = site.layout.gateway(&["kmc", "public-key"]);
    let request = module.request_at(&public_key, two_days_ago.trim());
    site.ask(&Draft::request("{KMS:GetKlfStsEd2} late", &request))
}

fn read_by_python(mail: &Mail) -> Value {
    serde_json::from_str(&run(&mut python("mail/read_mail.py"), mail.raw())).unwrap()
}

/// Postfix would answer the first of them by itself, and the kernel then hold its
/// other answers back for 40 ms.
#[test]
fn the_commands_for_a_reply_go_out_in_one_piece() {
    let layout = Layout::new();
    let file = layout.directory().join("strace.log");
    let path = file.to_str().expect("a path in UTF-8").to_owned();
    let options = ["-s", "200", "-e", "trace=sendto,write,writev", "-o", &path];
    let gateway = layout.start_traced_gateway(&options);
    let site = layout.start_with(Some(gateway));
    site.ask(&Draft::request("{KMS:Help} in one piece", ""));
    let begun = until("the trace has it", Duration::from_secs(20), || {
        let trace = fs::read_to_string(&file).expect("the trace");
        let mut calls = trace.lines();
        calls
            .find(|call| call.contains("MAIL FROM:"))
            .map(str::to_owned)
    });
    assert!(
        begun.contains("RCPT TO:") && begun.contains("DATA"),
        "{begun}"
    );
}
