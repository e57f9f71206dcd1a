//! Rows of the table, and the series of each row. A series is found once and then
//! held, so that counting needs no search in the exporter's registry. Without an
//! exporter the held series do nothing.

use std::{collections::HashMap, hash::Hash, sync::OnceLock};

use metrics::{Counter, Gauge, Histogram, Label, SharedString};

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measure {
    /// The name in the export, with the unit.
    pub name: &'static str,
    /// The names of the labels.
    pub labels: &'static [&'static str],
    /// The unit of the values.
    pub unit: Unit,
    /// The kind of metric.
    pub kind: Kind,
    /// The upper bounds of a histogram's buckets; empty for other kinds.
    pub(crate) buckets: &'static [f64],
    /// The meaning, for people.
    pub about: &'static str,
}

/// The unit of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A number of things.
    Count,
    /// A length of time.
    Seconds,
    /// A size.
    Bytes,
}

impl Unit {
    /// The word in the documentation.
    pub const fn as_str(self) -> &'static str {
        match self {
            Unit::Count => "number",
            Unit::Seconds => "seconds",
            Unit::Bytes => "bytes",
        }
    }
}

/// The kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number that only grows, from 0 at the start.
    Counter,
    /// The present value.
    Gauge,
    /// Counts of values by buckets.
    Histogram,
}

impl Kind {
    /// The word in the documentation and in the export.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// A handle that puts values into a series.
pub(crate) trait Handle: Clone {
    /// The kind of row that has such handles.
    const KIND: Kind;

    /// The handle of the series with these labels.
    fn register(name: &'static str, labels: Vec<Label>) -> Self;
}

impl Handle for Counter {
    const KIND: Kind = Kind::Counter;

    fn register(name: &'static str, labels: Vec<Label>) -> Self {
        metrics::counter!(name, labels)
    }
}

impl Handle for Gauge {
    const KIND: Kind = Kind::Gauge;

    fn register(name: &'static str, labels: Vec<Label>) -> Self {
        metrics::gauge!(name, labels)
    }
}

impl Handle for Histogram {
    const KIND: Kind = Kind::Histogram;

    fn register(name: &'static str, labels: Vec<Label>) -> Self {
        metrics::histogram!(name, labels)
    }
}

/// A series among those of its row: a value for each label.
pub(crate) trait Place: Copy + Eq + Hash + Send + Sync + 'static {
    /// All series that the program knows from the start.
    fn all() -> Vec<Self>;

    /// The values, in the order of the labels.
    fn values(self) -> Vec<&'static str>;
}

/// The only series of a row without labels.
impl Place for () {
    fn all() -> Vec<Self> {
        vec![()]
    }

    fn values(self) -> Vec<&'static str> {
        Vec::new()
    }
}

/// A row of the table with its series.
pub trait Row {
    /// The description in the table.
    fn measure(&self) -> &Measure;

    /// The values that the labels have from the start. A zone's label has an example,
    /// because the configuration names the zones.
    fn known(&self) -> Vec<Vec<&'static str>>;

    /// Begins counters and histograms at 0, so that the first count shows as an
    /// increase. A gauge appears when its value is known.
    fn begin(&self);
}

/// A row whose labels have values that the program knows from the start.
pub(crate) struct Series<H, P> {
    measure: Measure,
    held: OnceLock<HashMap<P, H>>,
}

impl<H: Handle, P: Place> Series<H, P> {
    pub(super) const KIND: Kind = H::KIND;

    pub(super) const fn new(measure: Measure) -> Self {
        Self {
            measure,
            held: OnceLock::new(),
        }
    }

    /// The handle of this series.
    pub(crate) fn at(&self, place: P) -> H {
        let register = |place: P| {
            let values = place.values().into_iter().map(SharedString::const_str);
            H::register(self.measure.name, labelled(&self.measure, values))
        };
        let held = self.held.get_or_init(|| {
            P::all()
                .into_iter()
                .map(|own| (own, register(own)))
                .collect()
        });
        held.get(&place)
            .map_or_else(|| register(place), Clone::clone)
    }
}

impl<H: Handle> Series<H, ()> {
    /// The handle of the only series.
    pub(crate) fn only(&self) -> H {
        self.at(())
    }
}

impl<H: Handle, P: Place> Row for Series<H, P> {
    fn measure(&self) -> &Measure {
        &self.measure
    }

    fn known(&self) -> Vec<Vec<&'static str>> {
        P::all().into_iter().map(Place::values).collect()
    }

    fn begin(&self) {
        if H::KIND != Kind::Gauge {
            P::all().into_iter().for_each(|place| drop(self.at(place)));
        }
    }
}

/// A row whose first label is a DNS blocklist's zone, which the configuration
/// names; each zone holds its own series.
pub(crate) struct OfZones<H, P> {
    measure: Measure,
    of: std::marker::PhantomData<fn() -> (H, P)>,
}

impl<H: Handle, P: Place> OfZones<H, P> {
    pub(super) const KIND: Kind = H::KIND;

    pub(super) const fn new(measure: Measure) -> Self {
        Self {
            measure,
            of: std::marker::PhantomData,
        }
    }

    /// The series of a zone, each from 0.
    pub(crate) fn of(&self, zone: &str) -> ZoneSeries<H, P> {
        let held = P::all().into_iter().map(|place| {
            let zone = SharedString::from_owned(zone.to_owned());
            let others = place.values().into_iter().map(SharedString::const_str);
            let labels = labelled(&self.measure, std::iter::once(zone).chain(others));
            (place, H::register(self.measure.name, labels))
        });
        ZoneSeries(held.collect())
    }
}

impl<H: Handle, P: Place> Row for OfZones<H, P> {
    fn measure(&self) -> &Measure {
        &self.measure
    }

    fn known(&self) -> Vec<Vec<&'static str>> {
        let with_zone = |place: P| [vec!["example.org"], place.values()].concat();
        P::all().into_iter().map(with_zone).collect()
    }

    fn begin(&self) {}
}

/// The series of one zone.
pub(crate) struct ZoneSeries<H, P>(HashMap<P, H>);

impl<H: Handle, P: Place> ZoneSeries<H, P> {
    /// The handle of this series.
    pub(crate) fn at(&self, place: P) -> Option<&H> {
        self.0.get(&place)
    }
}

fn labelled(measure: &Measure, values: impl Iterator<Item = SharedString>) -> Vec<Label> {
    let names = measure.labels.iter().copied();
    names
        .zip(values)
        .map(|(name, value)| Label::new(name, value))
        .collect()
}
