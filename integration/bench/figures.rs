//! Figures of interleaved rounds: medians, ratios, and whether a bound holds.

use std::fmt;

/// One figure of a case, round by round.
#[derive(Clone, Debug)]
pub struct Series(pub Vec<f64>);

/// The median of the rounds, and the interval in which it lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Series {
    /// Between which of the sorted rounds the median of all that there could be
    /// lies in 19 of 20 runs, whatever their distribution: by the binomial one,
    /// the least and the most of up to eight rounds.
    pub fn spread(&self) -> Spread {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        let outside = rounds_outside(sorted.len());
        Spread {
            median,
            least: sorted[outside],
            most: sorted[sorted.len() - 1 - outside],
        }
    }

    /// Round by round, so that what slows a whole round down counts for nothing.
    pub fn ratio_to(&self, other: &Self) -> Spread {
        assert_eq!(self.0.len(), other.0.len(), "rounds");
        let ratios = self.0.iter().zip(&other.0).map(|(of, to)| of / to);
        Self(ratios.collect()).spread()
    }
}

/// How many of so many sorted rounds lie outside of the median's interval at
/// either end: so few that the chance of it is 2.5 %.
fn rounds_outside(rounds: usize) -> usize {
    let mut chance = 0.5_f64.powf(rounds as f64);
    let mut chance_so_far = chance;
    let mut outside = 0;
    while outside + 1 < rounds / 2 {
        // From C(n, k) to C(n, k + 1).
        chance *= (rounds - outside) as f64 / (outside + 1) as f64;
        chance_so_far += chance;
        if chance_so_far > 0.025 {
            break;
        }
        outside += 1;
    }
    outside
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.median.is_nan() {
            return f.write_str("–");
        }
        let decimals = if self.median < 10.0 { 2 } else { 0 };
        write!(
            f,
            "{:.decimals$} ({:.decimals$}–{:.decimals$})",
            self.median, self.least, self.most
        )
    }
}

/// The limit of a figure.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    AtLeast(f64),
    AtMost(f64),
    /// One is within the interval.
    NoDifference,
    /// None: to see what another case comes to.
    ForComparison,
}

/// How a figure stands to its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Held,
    /// The median is beyond the limit, and the rounds' interval has it.
    Open,
    Missed,
    /// There is no limit.
    Shown,
}

impl Limit {
    pub fn standing(self, found: Spread) -> Standing {
        let (held, open) = match self {
            Limit::ForComparison => return Standing::Shown,
            Limit::AtLeast(limit) => (found.median >= limit, found.most >= limit),
            Limit::AtMost(limit) => (found.median <= limit, found.least <= limit),
            Limit::NoDifference => (found.least <= 1.0 && found.most >= 1.0, false),
        };
        match (held, open) {
            (true, _) => Standing::Held,
            (false, true) => Standing::Open,
            (false, false) => Standing::Missed,
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::AtLeast(limit) => write!(f, "at least {limit}"),
            Limit::AtMost(limit) => write!(f, "at most {limit}"),
            Limit::NoDifference => f.write_str("1 within the interval"),
            Limit::ForComparison => f.write_str("–"),
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Standing::Held => "held",
            Standing::Open => "not excluded",
            Standing::Missed => "MISSED",
            Standing::Shown => "",
        })
    }
}

/// A case and how one round of it is measured: a value for each figure.
pub struct Case<'a> {
    pub name: String,
    pub measure: Box<dyn FnMut() -> Vec<f64> + 'a>,
}

impl<'a> Case<'a> {
    pub fn new(name: impl Into<String>, measure: impl FnMut() -> Vec<f64> + 'a) -> Self {
        Self {
            name: name.into(),
            measure: Box::new(measure),
        }
    }
}

/// The figures of several cases.
pub struct Table {
    pub figures: Vec<&'static str>,
    /// By case; of each, by figure.
    pub rows: Vec<(String, Vec<Series>)>,
}

impl Table {
    /// Measures all cases in turn, `rounds` times, each time beginning with
    /// another; a round before warms up and counts for nothing.
    pub fn interleaved(figures: &[&'static str], rounds: usize, mut cases: Vec<Case<'_>>) -> Self {
        for case in &mut cases {
            (case.measure)();
        }
        let mut rows: Vec<(String, Vec<Series>)> = cases
            .iter()
            .map(|case| (case.name.clone(), vec![Series(Vec::new()); figures.len()]))
            .collect();
        for round in 0..rounds {
            for turn in 0..cases.len() {
                let case = (round + turn) % cases.len();
                let values = (cases[case].measure)();
                assert_eq!(values.len(), figures.len(), "{}", cases[case].name);
                for (series, value) in rows[case].1.iter_mut().zip(values) {
                    series.0.push(value);
                }
            }
        }
        Self {
            figures: figures.to_vec(),
            rows,
        }
    }

    pub fn of(&self, case: &str, figure: &str) -> &Series {
        let column = self.figures.iter().position(|found| *found == figure);
        let row = self.rows.iter().find(|(name, _)| name == case);
        let (_, series) = row.unwrap_or_else(|| panic!("no case {case}"));
        &series[column.unwrap_or_else(|| panic!("no figure {figure}"))]
    }

    /// A figure of one case to the same of another.
    pub fn ratio(&self, case: &str, other: &str, figure: &str) -> Spread {
        self.of(case, figure).ratio_to(self.of(other, figure))
    }
}
