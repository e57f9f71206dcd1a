//! The queue after a flood: waits for an allowance, and orders that select many
//! requests at once.

use serde_json::Value;

use crate::{
    harness::{ALICE, BOB, CAROL, Layout, Site},
    queue::{at_terminal, help, json, queue_when, refused, send, text, waiting},
};

/// A site that does one request of each sender at once, and its first queue:
/// four of Alice's that wait for their turn, two of Bob's and one of Carol's.
fn with_a_flood() -> Site {
    let layout = Layout::new();
    layout.set_gateway("throttle", "at_once", 1);
    layout.set_gateway("throttle", "every", "10h");
    let site = layout.start();
    for (person, requests) in [(ALICE, 5), (BOB, 3), (CAROL, 2)] {
        for number in 0..requests {
            send(
                &site,
                person,
                &help(person, &format!("{{KMS:Help}} {number}")),
            );
        }
        // The first one's answer, and the notice that the others wait.
        site.mailbox(person).wait_for_count(2);
    }
    queue_when(&site, "seven wait for their turn", |queue| {
        let throttled = |item: &&Value| item["rule"] == "flood" && item["what"] == "request";
        queue.len() == 7 && queue.iter().filter(throttled).count() == 7
    });
    site
}

fn subjects(site: &Site, person: &str) -> usize {
    site.mailbox(person).mails().len()
}

#[test]
fn waits_for_an_allowance_are_ended_only_where_that_is_meant() {
    let site = with_a_flood();
    let shown = site.layout.gateway(&["queue", "retry", "--all"]);
    assert_eq!(
        shown,
        "Waits ended: 0 of requests, 0 of replies.\n\
         Left alone: 7 requests that wait for an allowance; --throttled ends these waits too.\n"
    );
    let queue = waiting(&site);
    let of_alice = queue.iter().find(|item| item["state"] == "throttled");
    let id = text(of_alice.expect("one of Alice's"), "request_id");
    refused(&site, &["queue", "retry", id], 1, "--throttled");
    // Nobody can be asked, or says no.
    let order = ["queue", "retry", "--all", "--throttled"];
    refused(
        &site,
        &order,
        2,
        "7 requests that wait for an allowance, of 3 senders",
    );
    refused(&site, &order, 2, "--yes");
    let line = "queue retry --all --throttled";
    let no = at_terminal(&site, "80", line, "n\n");
    assert_eq!(no.code, Some(1), "{no:?}");
    assert!(no.stdout.contains("nothing was done"), "{no:?}");
    assert_eq!(waiting(&site).len(), 7);
    assert_eq!(subjects(&site, ALICE), 2);

    site.layout.gateway(&["queue", "retry", id, "--throttled"]);
    site.mailbox(ALICE).wait_for_count(3);
    let yes = at_terminal(&site, "80", line, "y\n");
    assert_eq!(yes.code, Some(0), "{yes:?}");
    assert!(yes.stdout.contains("Waits ended: 6 of requests"), "{yes:?}");
    site.mailbox(ALICE).wait_for_count(6);
    site.mailbox(BOB).wait_for_count(4);
    site.mailbox(CAROL).wait_for_count(3);
    queue_when(&site, "the queue is empty", <[Value]>::is_empty);
    let audit = json(&site, &["audit", "list", "--json"]);
    let audit = audit.as_array().expect("an array");
    let retried = audit.iter().filter(|entry| entry["event"] == "retried");
    let counts: Vec<&Value> = retried.map(|entry| &entry["count"]).collect();
    assert_eq!(counts, [1, 6]);
}

/// The order to drop what is selected so.
fn drop<'a>(selection: &[&'a str]) -> Vec<&'a str> {
    [&["queue", "drop", "--reason", "a flood"], selection].concat()
}

#[test]
fn a_flood_is_dropped_by_sender_client_and_rule() {
    let site = with_a_flood();
    let client = text(&waiting(&site)[0], "client").to_owned();
    let bob = format!("<{BOB}>");
    let of_bob = drop(&["--sender", &bob, "--client", &client]);
    refused(
        &site,
        &of_bob,
        2,
        "2 requests and 0 replies and notices, of 1 sender",
    );
    assert_eq!(waiting(&site).len(), 7, "nobody was asked");
    refused(
        &site,
        &drop(&["0f", "--sender", BOB]),
        2,
        "cannot be used with",
    );
    refused(&site, &drop(&["--rule", "subject"]), 2, "flood");
    refused(
        &site,
        &drop(&["--client", "192.0.2.1/24"]),
        2,
        "192.0.2.0/24",
    );
    refused(&site, &["queue", "drop", "--rule", "flood"], 2, "--reason");
    let nobody = site.layout.gateway(&drop(&["--client", "192.0.2.0/24"]));
    assert_eq!(nobody, "Nothing that waits is selected.\n");

    let shown = site.layout.gateway(&[&of_bob[..], &["--yes"]].concat());
    assert_eq!(shown, "Dropped: 2 requests and 0 replies and notices.\n");
    let line = "queue drop --rule flood --reason flood";
    let no = at_terminal(&site, "80", line, "\n");
    assert_eq!(no.code, Some(1), "{no:?}");
    assert_eq!(waiting(&site).len(), 5);
    let yes = at_terminal(&site, "80", line, "yes\n");
    assert_eq!(yes.code, Some(0), "{yes:?}");
    assert!(yes.stdout.contains("Dropped: 5 requests"), "{yes:?}");
    assert!(waiting(&site).is_empty());
    for person in [ALICE, BOB, CAROL] {
        assert_eq!(subjects(&site, person), 2, "{person}");
    }
    let audit = json(&site, &["audit", "list", "--json"]);
    let audit = audit.as_array().expect("an array");
    let dropped = audit.iter().filter(|entry| entry["event"] == "dropped");
    let reasons: Vec<&Value> = dropped.map(|entry| &entry["reason"]).collect();
    assert_eq!(
        reasons,
        [
            "a flood", "a flood", "flood", "flood", "flood", "flood", "flood"
        ]
    );
    site.layout.gateway(&["audit", "verify"]);
}
