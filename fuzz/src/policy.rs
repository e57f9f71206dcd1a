//! The policy. It judges every message, always in the same way, and its
//! explanation agrees. Any message with Auto-Submitted is ignored. Every
//! request can be answered.

use kms_gateway::mail::{Address, Client, GatewayAddresses, Message, Request, ReversePath};
use kms_gateway::policy::{
    Asked, Envelope, Facts, Judgement, Listener, Looked, RULES, Settings, Verdict, explain, judge,
};

use super::assert_one_line;
use super::gateway::{self, GATEWAY};

/// A message for the gateway, with its envelope.
struct Case {
    listener: Listener,
    reverse_path: ReversePath,
    message: Message,
    recipients: [Address; 1],
    gateway: GatewayAddresses,
    settings: Settings,
}

/// Takes the octets as a message. A first line `outer PATH` or `internal PATH`
/// sets the listener and the reverse path.
pub fn check(data: &[u8]) {
    let mut case = Case::read(data);
    let judgement = case.look(judge);
    assert_eq!(case.look(judge), judgement);
    check_explained(&case, &judgement);
    match judgement {
        Judgement::Request(asked) => check_request(&case, asked),
        Judgement::Ruled(ruling) => {
            assert!(RULES.iter().any(|rule| rule.name == ruling.rule));
            assert_one_line(&ruling.finding.reason);
            // The message is for the gateway and no blocklist was asked, so
            // only ignoring is left.
            let verdict = Judgement::Ruled(ruling).verdict();
            assert_eq!(verdict, Verdict::Ignore);
        }
    }
    case.message
        .headers
        .push(b"Auto-Submitted", b" auto-replied");
    assert_eq!(case.look(judge).verdict(), Verdict::Ignore);
}

impl Case {
    fn read(data: &[u8]) -> Self {
        let (listener, path, octets) = envelope(data);
        let message = Message::from_bytes(octets);
        let reverse_path = match path {
            Some(path) => ReversePath::from_smtp(&path),
            None => ReversePath::of_delivered(&message.headers),
        };
        let mut settings = Settings::default();
        settings.authentication.authserv_ids = vec!["mx.kms.example.org".to_owned()];
        Case {
            listener,
            reverse_path,
            message,
            recipients: [Address::parse(GATEWAY).unwrap()],
            gateway: gateway::addresses(),
            settings,
        }
    }

    fn look<T>(&self, look: impl FnOnce(&Facts<'_>) -> T) -> T {
        look(&Facts {
            envelope: Envelope {
                listener: self.listener,
                client: Client::default(),
                reverse_path: &self.reverse_path,
                recipients: &self.recipients,
                gateway: &self.gateway,
                dnsbl: None,
            },
            headers: &self.message.headers,
            structure: &self.message.structure(),
            size: u64::try_from(self.message.to_bytes().len()).unwrap(),
            settings: &self.settings,
        })
    }
}

fn envelope(data: &[u8]) -> (Listener, Option<String>, &[u8]) {
    let line_end = data.iter().position(|&octet| octet == b'\n');
    let (line, rest) = data.split_at(line_end.map_or(data.len(), |end| end + 1));
    let line = String::from_utf8_lossy(line.trim_ascii_end()).into_owned();
    for (word, listener) in [
        ("outer ", Listener::Outer),
        ("internal ", Listener::Internal),
    ] {
        if let Some(path) = line.strip_prefix(word) {
            return (listener, Some(path.to_owned()), rest);
        }
    }
    (Listener::Outer, None, data)
}

fn check_explained(case: &Case, judgement: &Judgement) {
    let results = case.look(explain);
    assert!(
        results
            .iter()
            .map(|result| result.rule.name)
            .eq(RULES.iter().map(|rule| rule.name))
    );
    let decided: Vec<_> = results
        .iter()
        .filter_map(|result| match &result.looked {
            Looked::Decides(finding) => Some((result.rule.name, finding.reason.as_str())),
            _ => None,
        })
        .collect();
    let judged: Vec<_> = judgement
        .rule()
        .zip(judgement.reason())
        .into_iter()
        .collect();
    assert_eq!(decided, judged);
}

fn check_request(case: &Case, asked: Asked) {
    let answered = &asked.targets.answered;
    assert!((1..=case.settings.max_targets).contains(&answered.len()));
    assert!(
        answered
            .iter()
            .all(|target| target.is_plain() && !case.gateway.contains(target))
    );
    assert!(case.gateway.contains(&asked.gateway));
    let request = Request::from_message(&case.message, &case.gateway, answered.clone()).unwrap();
    assert_eq!(request.code, asked.service);
    assert_eq!(request.from_gateway, asked.gateway);
}
