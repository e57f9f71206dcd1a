//! The gateway's pages on loopback, as Prometheus and probes ask for them.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use super::Layout;

const PATIENCE: Duration = Duration::from_secs(30);

/// The port that docs/mail-admin.md and `postfix/gateway.toml` name.
const PORT: u16 = 9890;

/// The pages of one gateway.
#[derive(Clone, Copy)]
pub struct Pages(SocketAddr);

/// An answer by HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub status: u16,
    /// Status line and header fields.
    pub header: String,
    pub body: String,
}

impl Pages {
    /// Those that a gateway of this layout will have.
    pub fn configure(layout: &Layout) -> Self {
        let address = layout.port(PORT);
        layout.set_gateway("metrics", "listen", address.to_string());
        Self(address)
    }

    pub fn connect(self) -> TcpStream {
        let stream = TcpStream::connect(self.0).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
        stream
    }

    pub fn get(self, path: &str) -> Page {
        self.ask("GET", path)
    }

    pub fn ask(self, method: &str, path: &str) -> Page {
        let mut stream = self.connect();
        let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (header, body) = answer.split_once("\r\n\r\n").expect("a header");
        let status = header.split(' ').nth(1).expect("a status");
        Page {
            status: status.parse().expect("a number"),
            header: header.to_owned(),
            body: body.to_owned(),
        }
    }

    pub fn metrics(self) -> Exported {
        let page = self.get("/metrics");
        assert_eq!(page.status, 200, "{page:?}");
        Exported(page.body)
    }
}

/// The page of metrics, as Prometheus gets it.
pub struct Exported(String);

/// The labels of a series, and its value.
pub type Series = (BTreeMap<String, String>, f64);

impl Exported {
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Name and kind of each metric.
    pub fn kinds(&self) -> BTreeMap<String, String> {
        let lines = self.0.lines();
        lines
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
            .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
            .collect()
    }

    /// All series of this very name.
    pub fn series(&self, name: &str) -> Vec<Series> {
        let of = self.0.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (found, labels) = series.split_once('{').unwrap_or((series, "}"));
            (found == name).then(|| (labels, value.parse().expect("a number")))
        });
        of.map(|(labels, value)| (pairs(labels.trim_end_matches('}')), value))
            .collect()
    }

    /// The value of the only series without labels.
    pub fn value(&self, name: &str) -> Option<f64> {
        self.series(name).first().map(|(_, value)| *value)
    }

    /// The series that aren't 0: the values of their labels, in the order of
    /// the names, by blanks.
    pub fn counted(&self, name: &str) -> BTreeMap<String, f64> {
        let series = self.series(name).into_iter();
        series
            .filter(|(_, value)| *value != 0.0)
            .map(|(labels, value)| {
                let values: Vec<String> = labels.into_values().collect();
                (values.join(" "), value)
            })
            .collect()
    }

    /// The values of this label.
    pub fn values_of(&self, name: &str, label: &str) -> BTreeSet<String> {
        let series = self.series(name).into_iter();
        series
            .filter_map(|(mut labels, _)| labels.remove(label))
            .collect()
    }
}

/// None of our values has a quotation mark in it.
fn pairs(labels: &str) -> BTreeMap<String, String> {
    let parts: Vec<&str> = labels.split('"').collect();
    let pairs = parts.chunks_exact(2).map(|pair| {
        let name = pair[0].trim_start_matches(',').trim_end_matches('=');
        (name.to_owned(), pair[1].to_owned())
    });
    pairs.collect()
}
