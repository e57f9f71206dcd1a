//! Answers the probes: is the gateway alive, does it take requests. Judges what
//! the pulse has seen, and looks at nothing itself.

use tokio::sync::watch;

/// The stages of the service's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The database is being checked, or a port is being bound.
    Starting,
    /// Milter and worker run. The process ends with either.
    Serving,
    /// The milter takes no new session.
    Stopping,
}

/// Findings of the pulse's last beat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Vitals {
    /// The reason for systemd to restart the gateway, if there is one.
    pub(super) hangs: Option<String>,
    /// The reason to refuse requests now, if there is one.
    pub(super) refuses: Option<String>,
    /// Troubles that the operator should mend, although requests are taken.
    pub(super) warnings: Vec<String>,
}

impl Vitals {
    /// The vitals before the first beat.
    pub(super) fn unknown() -> Self {
        Self {
            refuses: Some("the store has not answered yet".to_owned()),
            ..Self::default()
        }
    }

    /// Adds a reason to refuse requests, unless there is one already.
    pub(super) fn or_refused(mut self, reason: Option<String>) -> Self {
        self.refuses = self.refuses.or(reason);
        self
    }

    pub(super) fn takes_requests(&self) -> bool {
        self.hangs.is_none() && self.refuses.is_none()
    }
}

/// An answer to a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Diagnosis {
    pub(super) is_good: bool,
    /// One reason or warning a line; `ready` or `alive` if all is well.
    pub(super) lines: Vec<String>,
}

#[derive(Clone)]
pub(super) struct Health {
    pub(super) phase: watch::Receiver<Phase>,
    pub(super) vitals: watch::Receiver<Vitals>,
}

impl Health {
    /// Whether the process works. If not, it should be restarted.
    pub(super) fn alive(&self) -> Diagnosis {
        let hangs = self.vitals.borrow().hangs.clone();
        Diagnosis {
            is_good: hangs.is_none(),
            lines: vec![hangs.unwrap_or_else(|| "alive".to_owned())],
        }
    }

    /// Whether the gateway takes requests now. A bad configuration file does not
    /// count: the previous configuration is still in force.
    pub(super) fn ready(&self) -> Diagnosis {
        let vitals = self.vitals.borrow().clone();
        let phase = match *self.phase.borrow() {
            Phase::Starting => Some("starting"),
            Phase::Serving => None,
            Phase::Stopping => Some("stopping: no new session is taken"),
        };
        let phase = phase.map(str::to_owned);
        let mut lines: Vec<String> = [phase, vitals.hangs, vitals.refuses]
            .into_iter()
            .flatten()
            .collect();
        let is_good = lines.is_empty();
        if is_good {
            lines.push("ready".to_owned());
            let warnings = vitals.warnings.iter();
            lines.extend(warnings.map(|text| format!("warning: {text}")));
        }
        Diagnosis { is_good, lines }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(phase: Phase, vitals: Vitals) -> Health {
        Health {
            phase: watch::channel(phase).1,
            vitals: watch::channel(vitals).1,
        }
    }

    fn of(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn each_warning_has_its_line_and_is_no_reason() {
        let vitals = Vitals {
            warnings: vec!["one".to_owned(), "two".to_owned()],
            ..Vitals::default()
        };
        let ready = health(Phase::Serving, vitals).ready();
        assert!(ready.is_good, "{ready:?}");
        assert_eq!(ready.lines, ["ready", "warning: one", "warning: two"]);
    }

    #[test]
    fn the_store_s_reason_comes_before_the_milter_port_s() {
        let reason = of("the milter port is full");
        let ready =
            |vitals: Vitals| health(Phase::Serving, vitals.or_refused(reason.clone())).ready();
        assert_eq!(ready(Vitals::default()).lines, ["the milter port is full"]);
        let full = Vitals {
            refuses: of("the spool is full"),
            ..Vitals::default()
        };
        assert_eq!(ready(full).lines, ["the spool is full"]);
    }

    #[test]
    fn each_reason_has_its_line() {
        let vitals = Vitals {
            refuses: of("the spool is full"),
            warnings: vec!["not shown".to_owned()],
            ..Vitals::default()
        };
        let health = health(Phase::Stopping, vitals);
        let ready = health.ready();
        assert!(!ready.is_good, "{ready:?}");
        let expected = ["stopping: no new session is taken", "the spool is full"];
        assert_eq!(ready.lines, expected);
        assert!(health.alive().is_good, "a stopping gateway is alive");
    }

    #[test]
    fn who_hangs_is_neither_alive_nor_ready() {
        let vitals = Vitals {
            hangs: of("the store has not answered for 60 s"),
            ..Vitals::default()
        };
        let health = health(Phase::Serving, vitals);
        assert!(!health.alive().is_good && !health.ready().is_good);
        let starting = super::tests::health(Phase::Starting, Vitals::default());
        assert!(starting.alive().is_good && !starting.ready().is_good);
    }
}
