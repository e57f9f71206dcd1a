//! Links, hand-overs and anchors that are right, forged, moved or missing.

#![allow(clippy::unwrap_used)]

use super::*;

fn key() -> ChainKey {
    ChainKey::new(&[7; 32])
}

#[test]
fn a_link_is_the_hmac_of_sequence_previous_and_bytes() {
    // Computed by Python's hmac.
    let link = key().link(1, &Head::EMPTY.link, b"{}");
    assert_eq!(
        link.to_string(),
        "f8b9f8bf32b5d19b48f8cd65a5f8a1787fecdcd0bad512ccbd211727b6d4d435"
    );
}

#[test]
fn a_head_reads_back() {
    let head = Head::EMPTY.append(&key(), b"{}");
    assert_eq!(head.to_string().parse(), Ok(head));
    for text in ["", "1", "1:", "x:00", "1:zz", &head.to_string()[..40]] {
        assert_eq!(text.parse::<Head>(), Err(HeadSyntax));
    }
}

#[test]
fn what_was_appended_follows_and_nothing_else_does() {
    let first = Head::EMPTY.append(&key(), b"{1}");
    let second = first.append(&key(), b"{2}");
    let follow = |bytes: &[u8], sequence, link| first.follow(&key(), sequence, bytes, link);

    assert_eq!(follow(b"{2}", 2, &second.link), Ok(second));
    let changed = BrokenAt {
        sequence: 2,
        fault: Fault::Link,
    };
    assert_eq!(follow(b"{3}", 2, &second.link), Err(changed));
    assert_eq!(follow(b"{2}", 2, &first.link), Err(changed));
    let missing = BrokenAt {
        sequence: 2,
        fault: Fault::Missing,
    };
    assert_eq!(follow(b"{2}", 3, &second.link), Err(missing));
    let again = BrokenAt {
        sequence: 1,
        fault: Fault::Link,
    };
    assert_eq!(follow(b"{1}", 1, &first.link), Err(again));
    let other = ChainKey::new(&[8; 32]);
    assert_eq!(first.follow(&other, 2, b"{2}", &second.link), Err(changed));
}

#[test]
fn an_anchor_needs_the_key_and_no_link_passes_for_one() {
    let head = Head::EMPTY.append(&key(), b"{1}");
    let anchor = Anchor::new(&key(), head);
    assert_eq!(anchor.check(&key()), Ok(head));

    let forged = BrokenAt {
        sequence: 1,
        fault: Fault::Anchor,
    };
    let next = head.append(&key(), b"{2}");
    let other_key = Anchor::new(&ChainKey::new(&[8; 32]), head);
    let link = Anchor {
        head,
        authenticator: next.link,
    };
    for anchor in [other_key, link] {
        assert_eq!(anchor.check(&key()), Err(forged));
    }
    let moved = Anchor {
        head: next,
        ..anchor
    };
    assert_eq!(moved.check(&key()).unwrap_err().fault, Fault::Anchor);
}

/// The key after two hand-overs, at entries 3 and 5.
fn thrice() -> (Vec<HandOver>, [u8; 32]) {
    let keys = [[7; 32], [8; 32], [9; 32]].map(|key| ChainKey::new(&key));
    let [first, second, third] = &keys;
    let hand_overs = vec![
        second.hand_over(third, 5).unwrap(),
        first.hand_over(second, 3).unwrap(),
    ];
    (hand_overs, [9; 32])
}

#[test]
fn the_newest_key_verifies_what_those_before_it_wrote() {
    let (hand_overs, newest) = thrice();
    let key = ChainKey::new(&newest).with_former(hand_overs).unwrap();
    assert_eq!(key.hand_overs().collect::<Vec<_>>(), [3, 5]);
    let mut head = Head::EMPTY;
    for (sequence, byte) in [(1, 7), (2, 7), (3, 8), (4, 8), (5, 9), (6, 9)] {
        let written = head.append(&ChainKey::new(&[byte; 32]), b"{}");
        head = head.follow(&key, sequence, b"{}", &written.link).unwrap();
    }
    assert_eq!(head.sequence, 6);
    let anchor = Anchor::new(
        &ChainKey::new(&newest),
        Head {
            sequence: 2,
            ..head
        },
    );
    assert!(anchor.check(&key).is_ok(), "by the newest key");
}

#[test]
fn hand_overs_open_only_as_they_were_made() {
    let (hand_overs, newest) = thrice();
    let open = |hand_overs: Vec<HandOver>, key| ChainKey::new(key).with_former(hand_overs);
    assert!(open(hand_overs.clone(), &newest).is_ok());
    assert!(
        open(hand_overs.clone(), &[8; 32]).is_err(),
        "another secret"
    );
    let mut moved = hand_overs.clone();
    moved.first_mut().unwrap().first = 6;
    assert!(open(moved, &newest).is_err());
    let mut missing = hand_overs;
    missing.remove(0);
    assert!(open(missing, &newest).is_err());
}

#[test]
fn whoever_has_a_former_key_alone_changes_nothing_unseen() {
    let (old, new) = (ChainKey::new(&[7; 32]), ChainKey::new(&[8; 32]));
    let written = Head::EMPTY.append(&old, b"{1}");
    let handed_over = written.append(&new, b"{2}");
    let hand_over = old.hand_over(&new, 2).unwrap();
    let key = ChainKey::new(&[8; 32]).with_former([hand_over]).unwrap();
    // The forged link is right by the former key, but the next link is not.
    let forged = Head::EMPTY.append(&old, b"{0}");
    let forged = Head::EMPTY.follow(&key, 1, b"{0}", &forged.link).unwrap();
    let fault = forged.follow(&key, 2, b"{2}", &handed_over.link);
    assert_eq!(fault.unwrap_err().sequence, 2);
}

#[test]
fn the_key_is_not_shown() {
    assert_eq!(format!("{:?}", key()), "ChainKey(..)");
}
