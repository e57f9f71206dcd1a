//! The figures that `scripts/bench` makes of its rounds, which has no room for
//! tests of its own: medians, the intervals in which they lie, and what is said
//! of a bound.

#[path = "../bench/figures.rs"]
mod figures;

use std::cell::RefCell;

use figures::{Case, Limit, Series, Spread, Standing, Table};

fn rounds(count: u32) -> Series {
    // In no order.
    let (even, odd): (Vec<u32>, Vec<u32>) = (1..=count).partition(|round| round % 2 == 0);
    Series(odd.into_iter().chain(even).map(f64::from).collect())
}

/// As tables of order statistics have it for 95 %.
#[test]
fn a_median_lies_between_the_rounds_that_the_binomial_distribution_says() {
    for (count, least) in [
        (5, 1),
        (7, 1),
        (8, 1),
        (9, 2),
        (11, 2),
        (12, 3),
        (15, 4),
        (20, 6),
    ] {
        let spread = rounds(count).spread();
        let expected = Spread {
            median: f64::from(count + 1) / 2.0,
            least: f64::from(least),
            most: f64::from(count + 1 - least),
        };
        assert_eq!(spread, expected, "{count} rounds");
    }
}

#[test]
fn a_ratio_is_taken_round_by_round() {
    let slowed_down_twice = Series(vec![10.0, 5.0, 10.0, 5.0, 10.0]);
    let other = Series(vec![20.0, 10.0, 20.0, 10.0, 20.0]);
    let ratio = slowed_down_twice.ratio_to(&other);
    assert_eq!((ratio.least, ratio.median, ratio.most), (0.5, 0.5, 0.5));
    assert_eq!(ratio.to_string(), "0.50 (0.50–0.50)");
    assert_eq!(rounds(99).spread().to_string(), "50 (40–60)");
}

#[test]
fn a_bound_is_missed_only_where_the_interval_excludes_it() {
    let found = Spread {
        median: 1.0,
        least: 0.9,
        most: 1.2,
    };
    for (limit, standing) in [
        (Limit::AtLeast(1.0), Standing::Held),
        (Limit::AtLeast(1.2), Standing::Open),
        (Limit::AtLeast(1.21), Standing::Missed),
        (Limit::AtMost(1.0), Standing::Held),
        (Limit::AtMost(0.9), Standing::Open),
        (Limit::AtMost(0.89), Standing::Missed),
        (Limit::NoDifference, Standing::Held),
        (Limit::ForComparison, Standing::Shown),
    ] {
        assert_eq!(limit.standing(found), standing, "{limit}");
    }
    let slower = Spread {
        most: 0.99,
        ..found
    };
    assert_eq!(Limit::NoDifference.standing(slower), Standing::Missed);
}

#[test]
fn cases_take_turns_and_the_first_round_counts_for_nothing() {
    let turns = RefCell::new(String::new());
    let case = |name: &'static str| {
        let turns = &turns;
        Case::new(name, move || {
            turns.borrow_mut().push_str(name);
            vec![turns.borrow().len() as f64]
        })
    };
    let table = Table::interleaved(&["turn"], 3, vec![case("a"), case("b"), case("c")]);
    assert_eq!(*turns.borrow(), "abc".to_owned() + "abc" + "bca" + "cab");
    assert_eq!(table.of("a", "turn").0, [4.0, 9.0, 11.0]);
    assert_eq!(table.ratio("a", "a", "turn").median, 1.0);
}
