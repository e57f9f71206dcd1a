//! Whether what came of all that was sent is what must have: by the mailboxes,
//! and by what the gateway itself counted.

use std::collections::BTreeMap;

use super::{arrivals::Found, harness::Exported, senders::Tally};

/// The gateway's own counts.
pub struct Counts(pub Exported);

impl Counts {
    /// Messages with one of these pairs of rule and verdict.
    fn messages(&self, wanted: impl Fn(&str, &str) -> bool) -> usize {
        let messages = self.0.counted("kms_gateway_messages_total");
        let chosen = messages.iter().filter(|(labels, _)| {
            let (rule, verdict) = labels.split_once(' ').expect("two labels");
            wanted(rule, verdict)
        });
        chosen.map(|(_, count)| whole(*count)).sum()
    }

    fn total(&self, name: &str) -> usize {
        self.0.counted(name).into_values().map(whole).sum()
    }

    fn deliveries(&self, outcome: &str) -> usize {
        let outcomes = self.0.counted("kms_gateway_delivery_attempts_total");
        outcomes.get(outcome).copied().map_or(0, whole)
    }
}

/// Counters are numbers with a fraction to Prometheus.
fn whole(count: f64) -> usize {
    format!("{count:.0}").parse().expect("a count")
}

/// Each request has one answer, and all other mail is there once.
pub fn check_mail(tally: &Tally, found: &Found) {
    for (id, count) in &found.replies {
        assert_eq!(*count, 1, "{id} is answered {count} times");
    }
    for id in &tally.asked {
        assert!(found.replies.contains_key(id), "{id} has no answer");
    }
    let others: BTreeMap<String, usize> = tally.others.iter().map(|id| (id.clone(), 1)).collect();
    assert_eq!(found.others, others, "other people's mail");
}

/// The gateway has counted what happened, and nothing besides.
pub fn check_counts(tally: &Tally, found: &Found, counts: &Counts) {
    let accepted = found.replies.len() + tally.unanswerable;
    let blocked = counts.messages(|rule, verdict| (rule, verdict) == ("blocked", "ignore"));
    assert!(blocked > 0, "no flood was blocked");
    let asked = tally.asked.len() + tally.forged.len() + tally.unanswerable;
    assert_eq!(accepted + blocked, asked, "requests and what came of them");

    // Mail that is crowded out waits at the sender's server.
    let taken =
        |rule: &str, verdict: &str| rule != "crowded" && matches!(verdict, "request" | "defer");
    let ignored = |rule: &str, verdict: &str| verdict == "ignore" && rule != "blocked";
    assert_eq!(counts.messages(taken), accepted, "accepted");
    assert_eq!(counts.messages(ignored), tally.ignored, "ignored");
    for (verdict, count) in [("pass", tally.passed), ("duplicate", tally.repeated)] {
        assert_eq!(
            counts.messages(|_, found| found == verdict),
            count,
            "{verdict}"
        );
    }
    assert_eq!(
        counts.total("kms_gateway_requests_finished_total"),
        accepted
    );
    assert_eq!(
        counts.deliveries("delivered"),
        found.replies.len() + found.notices
    );
    assert_eq!(counts.deliveries("refused"), tally.unanswerable);
    for fault in [
        "kms_gateway_panics_total",
        "kms_gateway_messages_not_stored_total",
        "kms_gateway_store_commit_failures_total",
    ] {
        assert_eq!(counts.total(fault), 0, "{fault}");
    }
}
