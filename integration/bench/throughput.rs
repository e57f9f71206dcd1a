//! The cost of a milter to Postfix for mail that isn't for the milter.

use super::{
    arena::{Arena, Load, SINK, port},
    figures::{Case, Limit, Table},
    harness::{GATEWAY, Layout},
    plan::Plan,
    report::{Bound, Section},
};

const RATE: &str = "messages/s";
const STRANGER: &str = "Postfix without us";
const STRANGER_AGAIN: &str = "the same, again";
const INTERNAL: &str = "internal wiring";
const NO_MILTER: &str = "no milter";
const FLOOR: &str = "floor milter";
const NOTHING: &str = "do-nothing milter";
const OPENDKIM: &str = "OpenDKIM verifies";
const GATEWAY_OTHERS: &str = "gateway";
const GATEWAY_MIXED: &str = "gateway, 1 in 10 a request";

pub fn measure(arena: &mut Arena, plan: &Plan) -> Section {
    let arena = &*arena;
    let others = |name, layout: &Layout, port| {
        let to = layout.port(port);
        let load = move || Load::for_others(to, plan.messages);
        Case::new(name, move || vec![arena.rate_of(&[load()])])
    };
    let (ours, strangers) = (&arena.site.layout, &arena.stranger.layout);
    let cases = vec![
        others(STRANGER, strangers, port::NO_MILTER),
        others(STRANGER_AGAIN, strangers, port::NO_MILTER_AGAIN),
        others(INTERNAL, ours, port::NO_MILTER),
        others(NO_MILTER, ours, port::NO_MILTER_AGAIN),
        others(FLOOR, ours, port::FLOOR),
        others(GATEWAY_OTHERS, ours, port::GATEWAY),
        others(NOTHING, ours, port::NOTHING),
        others(OPENDKIM, ours, port::OPENDKIM),
        Case::new(GATEWAY_MIXED, || vec![mixed(arena, plan)]),
    ];
    let table = Table::interleaved(&[RATE], plan.throughput_rounds, cases);
    let itself = Some(table.ratio(STRANGER_AGAIN, STRANGER, RATE));
    let bound = |case, other, limit| Bound {
        what: format!("{case} / {other}"),
        limit,
        found: table.ratio(case, other, RATE),
        itself,
    };
    let bounds = vec![
        bound(GATEWAY_OTHERS, FLOOR, Limit::AtLeast(0.97)),
        bound(GATEWAY_OTHERS, NOTHING, Limit::AtLeast(1.2)),
        bound(GATEWAY_OTHERS, OPENDKIM, Limit::AtLeast(1.0)),
        bound(INTERNAL, STRANGER, Limit::NoDifference),
    ];
    Section {
        title: "Postfix's throughput",
        method: format!(
            "{} messages of 4 KiB a round by smtp-source, 20 sessions at a time and one message in each, \
             for {SINK}, which discard(8) delivers. All on one Postfix, a listener for each milter; \
             \"without us\" is another.",
            plan.messages
        ),
        table,
        bounds,
    }
}

/// Nine parts for others and one for the gateway, at once.
fn mixed(arena: &Arena, plan: &Plan) -> f64 {
    let to = arena.site.layout.port(port::GATEWAY);
    let requests = plan.messages / 10;
    let loads = [
        Load {
            sessions: 18,
            ..Load::for_others(to, plan.messages - requests)
        },
        Load {
            to,
            recipient: GATEWAY,
            subject: "{KMS:Help}",
            messages: requests,
            sessions: 2,
        },
    ];
    arena.rate_of(&loads)
}
