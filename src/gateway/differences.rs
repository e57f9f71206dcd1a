//! Differences among the gateways of one database that should not be: of clocks, versions, policies.
//! A gateway that differs goes on. Taking it out would stop mail for a difference that may be small.

use jiff::SignedDuration;

use super::policy_digest::shown;
use crate::{
    printable::Printable,
    store::{Node, SeenNode},
};

/// Silence after which a gateway no longer counts as one that runs.
const RUNS_WITHIN: SignedDuration = SignedDuration::from_secs(60);

/// Difference of two clocks that are synchronised, and more. Requests are judged by the database's
/// clock, but Postfix, the log and name servers go by the machine's.
const TOLERATED: SignedDuration = SignedDuration::from_secs(10);

/// The gateways that run.
pub(crate) fn running(nodes: &[SeenNode]) -> impl Iterator<Item = &Node> {
    let running = nodes.iter().filter(|seen| seen.silence < RUNS_WITHIN);
    running.map(|seen| &seen.node)
}

/// A text for each difference between this gateway and the database or the others that run. A text
/// stays the same as long as its difference lasts.
pub(crate) fn differences(own: &Node, nodes: &[SeenNode]) -> Vec<String> {
    let others = running(nodes).filter(|other| other.name != own.name);
    let of_others = others.filter_map(|other| difference(own, other));
    of_clock(own).into_iter().chain(of_others).collect()
}

fn of_clock(own: &Node) -> Option<String> {
    let way = match own.ahead.is_negative() {
        true => "behind",
        false => "ahead of",
    };
    (own.ahead.abs() > TOLERATED).then(|| {
        format!(
            "this machine's clock is more than {} s {way} the database's, by which the gateway \
             goes; synchronise both",
            TOLERATED.as_secs()
        )
    })
}

/// Policies are compared within one version only: another version knows other settings.
fn difference(own: &Node, other: &Node) -> Option<String> {
    let name = Printable(&other.name);
    if own.version != other.version {
        let version = Printable(&other.version);
        return Some(format!(
            "gateway {name} runs version {version}, and this one {}; upgrade the older one",
            own.version
        ));
    }
    (own.policy != other.policy).then(|| {
        format!(
            "gateway {name} has another policy ({}) than this one ({}); make their gateway.toml \
             alike, and reload",
            Printable(shown(&other.policy)),
            shown(&own.policy)
        )
    })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::store::NodeProcess;

    fn node(name: &str) -> Node {
        Node {
            name: name.to_owned(),
            version: "0.1.0".to_owned(),
            policy: "0011223344556677ff".to_owned(),
            ahead: SignedDuration::ZERO,
            process: NodeProcess {
                id: [0; 16],
                pid: 1,
                machine: String::new(),
            },
        }
    }

    fn seen(node: Node, silence: i64) -> SeenNode {
        let silence = SignedDuration::from_secs(silence);
        SeenNode {
            node,
            seen_at: Timestamp::UNIX_EPOCH,
            silence,
        }
    }

    fn of_policy(policy: &str) -> Node {
        Node {
            policy: policy.to_owned(),
            ..node("mx2")
        }
    }

    #[test]
    fn gateways_that_are_alike_differ_in_nothing() {
        let nodes = [seen(node("mx1"), 3), seen(node("mx2"), 59)];
        assert_eq!(differences(&node("mx1"), &nodes), [""; 0]);
        assert_eq!(running(&nodes).count(), 2);
    }

    #[test]
    fn another_policy_is_told_by_its_digest() {
        let nodes = [seen(of_policy("8899aabbccddeeff00"), 3)];
        assert_eq!(
            differences(&node("mx1"), &nodes),
            [
                "gateway mx2 has another policy (8899aabbccddeeff) than this one \
                 (0011223344556677); make their gateway.toml alike, and reload"
            ]
        );
    }

    #[test]
    fn of_another_version_the_policy_is_not_compared() {
        let newer = Node {
            version: "0.2.0".to_owned(),
            ..of_policy("88")
        };
        assert_eq!(
            differences(&node("mx1"), &[seen(newer, 3)]),
            ["gateway mx2 runs version 0.2.0, and this one 0.1.0; upgrade the older one"]
        );
    }

    #[test]
    fn neither_its_own_note_nor_a_gateway_that_is_gone_counts() {
        let former = Node {
            name: "mx1".to_owned(),
            ..of_policy("88")
        };
        let nodes = [seen(former, 3), seen(of_policy("88"), 60)];
        assert_eq!(differences(&node("mx1"), &nodes), [""; 0]);
    }

    #[test]
    fn a_clock_may_be_off_by_ten_seconds() {
        let text = |milliseconds| {
            let own = Node {
                ahead: SignedDuration::from_millis(milliseconds),
                ..node("mx1")
            };
            differences(&own, &[]).concat()
        };
        assert_eq!(text(10_000), "");
        assert_eq!(text(-10_000), "");
        assert!(text(10_001).contains("more than 10 s ahead of the database's"));
        assert!(text(-10_001).contains("more than 10 s behind the database's"));
    }
}
