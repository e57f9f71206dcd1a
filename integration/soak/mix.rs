//! The mix: each kind of message, and how often there is one.

use super::{
    harness::{ALICE, BOB, CAROL, DECLARED, Draft, GATEWAY, with_attachment},
    senders::{Answer, Kind, Sender},
};

macro_rules! mix {
    ($($weight:literal $name:literal $send:path,)+) => {
        &[$(Kind { weight: $weight, name: $name, send: $send },)+]
    };
}

pub const MIX: &[Kind] = mix! {
    20 "{KMS:Help}" help,
    10 "{KMS:GetPublicKey}" public_key,
    20 "{KMS:GetKlfStsEd2}" key_load_file,
    3 "a module's request, and that record again" replay,
    3 "{KMS:SmUpdateStsEd2}" update,
    3 "an unknown service" unknown_service,
    8 "malformed MIME" malformed,
    3 "a request, and that message again" repeated,
    2 "a requester that doesn't exist" unanswerable,
    20 "bounces, automatic replies, lists and loops" automatic,
    15 "other people's mail" others,
    5 "a request with a copy for somebody else" copied,
    4 "the gateway in Cc or Bcc" not_in_to,
    1 "a megabyte for somebody else" large_for_others,
    1 "a request that is too large" too_large,
};

/// Above every limit of the operator's.
const TOO_LARGE: usize = 4 << 20;

fn request(sender: &mut Sender<'_>, service: &str, body: &str) -> Draft {
    Draft::request(&format!("{{KMS:{service}}} {}", sender.words()), body)
}

fn help(sender: &mut Sender<'_>) {
    let draft = request(sender, "Help", "please\n");
    sender.ask(&draft, Answer::Success);
}

fn public_key(sender: &mut Sender<'_>) {
    let draft = request(sender, "GetPublicKey", "");
    sender.ask(&draft, Answer::Success);
}

fn key_load_file(sender: &mut Sender<'_>) {
    let (module, record) = sender.module_request();
    let draft = request(sender, "GetKlfStsEd2", &record);
    sender.ask(&draft, Answer::Keys(module));
}

fn replay(sender: &mut Sender<'_>) {
    let (module, record) = sender.module_request();
    let draft = request(sender, "GetKlfStsEd2", &record);
    sender.ask(&draft, Answer::Keys(module));
    sender.wait(0);
    let again = request(sender, "GetKlfStsEd2", &record);
    sender.ask(&again, Answer::Error("EVkloadReplayed"));
}

/// Applied the first time, and found to be applied ever after.
fn update(sender: &mut Sender<'_>) {
    let subject = format!("{{KMS:SmUpdateStsEd2}} {}", sender.words());
    let draft = with_attachment(&subject, DECLARED, sender.world.update);
    sender.ask(&draft, Answer::Success);
}

fn unknown_service(sender: &mut Sender<'_>) {
    let draft = request(sender, "Evil", "");
    sender.ask(&draft, Answer::Error("EUnknownService"));
}

/// A good header, and below it parts in parts with some bytes changed.
fn malformed(sender: &mut Sender<'_>) {
    let (_, record) = sender.module_request();
    let inner = format!(
        "--a\nContent-Type: multipart/alternative; boundary=\"b\"\n\n\
         --b\nContent-Type: text/plain; charset=utf-8\n\
         Content-Transfer-Encoding: quoted-printable\n\n{record}=C3=A9=\n--b\n\
         Content-Type: text/html\nContent-Transfer-Encoding: base64\n\nPGI+YTwvYj4=\n--b--\n--a--\n"
    );
    let mut body = inner.replace('\n', "\r\n").into_bytes();
    for _ in 0..sender.random.usize(1..20) {
        let place = sender.random.usize(..body.len());
        if !b"\r\n".contains(&body[place]) {
            body[place] = sender.random.u8(b' '..);
        }
    }
    let draft = request(sender, "GetKlfStsEd2", "")
        .with("MIME-Version", "1.0")
        .with("Content-Type", "multipart/mixed; boundary=a")
        .with_body(body);
    sender.ask(&draft, Answer::Any);
}

fn repeated(sender: &mut Sender<'_>) {
    let from = sender.address();
    let draft = request(sender, "Help", "").with("From", &from);
    for _ in 0..2 {
        sender.send(&from, &[GATEWAY], &draft.to_bytes());
    }
    sender.expect(&draft, Answer::Success);
    sender.tally.repeated += 1;
}

fn unanswerable(sender: &mut Sender<'_>) {
    let from = sender.address();
    let (name, _) = from.split_once('@').expect("an address");
    // Another one each time, so that none comes near its allowance.
    let number = sender.tally.unanswerable;
    let nobody = format!("nobody.{name}.{number}@vendor.example");
    let draft = request(sender, "Help", "").with("From", &nobody);
    sender.send(&from, &[GATEWAY], &draft.to_bytes());
    sender.tally.unanswerable += 1;
}

fn automatic(sender: &mut Sender<'_>) {
    let messages = sender.world.automatic;
    let (reverse_path, message) = &messages[sender.random.usize(..messages.len())];
    sender.send(reverse_path, &[GATEWAY], message);
    sender.tally.ignored += 1;
}

fn others(sender: &mut Sender<'_>) {
    let to = if sender.random.bool() { BOB } else { CAROL };
    let draft = Draft::request(&sender.words(), "lunch?\n").with("To", to);
    sender.send_others(&[to], &draft);
    sender.tally.passed += 1;
}

fn copied(sender: &mut Sender<'_>) {
    let from = sender.address();
    let draft = request(sender, "Help", "")
        .with("From", &from)
        .with("Cc", CAROL);
    sender.expect(&draft, Answer::Success);
    sender.send_others(&[GATEWAY, CAROL], &draft);
}

fn not_in_to(sender: &mut Sender<'_>) {
    let mut draft = request(sender, "Help", "").with("To", BOB);
    if sender.random.bool() {
        draft = draft.with("Cc", GATEWAY);
    }
    sender.send_others(&[BOB, GATEWAY], &draft);
    sender.tally.ignored += 1;
}

fn large_for_others(sender: &mut Sender<'_>) {
    let draft =
        Draft::request(&sender.words(), &"so many words\n".repeat(1 << 16)).with("To", CAROL);
    sender.send_others(&[CAROL], &draft);
    sender.tally.passed += 1;
}

fn too_large(sender: &mut Sender<'_>) {
    let line = "so many words\n";
    let draft = request(sender, "Help", &line.repeat(TOO_LARGE / line.len() + 1));
    sender.send(ALICE, &[GATEWAY], &draft.to_bytes());
    sender.tally.ignored += 1;
}
