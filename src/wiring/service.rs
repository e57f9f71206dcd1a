//! A service of master.cf: its columns, the parameters that it overrides, and its entry for
//! one installation.

/// Postfix's version: major, minor.
pub(crate) type Version = (u8, u8);

/// The oldest version of Postfix that works with the gateway.
pub const OLDEST: Version = (3, 7);

/// The name of the transport from the queue to the internal listener.
pub const TRANSPORT: &str = "kms-gateway";

/// The name of the cleanup service behind both ports.
pub(crate) const CLEANUP: &str = "kms-gateway-cleanup";

/// The role of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Takes mail that reached the queue without passing the gateway.
    Internal,
    /// Takes the gateway's replies.
    Replies,
    /// Carries mail for the gateway from the queue to the internal listener.
    Transport,
    /// Puts the mail of both ports into the queue.
    Cleanup,
}

impl Role {
    /// The word for it in `parameters.tsv`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::Replies => "replies",
            Self::Transport => "transport",
            Self::Cleanup => "cleanup",
        }
    }
}

/// A service of master.cf.
#[derive(Debug)]
pub struct Service {
    /// The role, one service each.
    pub role: Role,
    /// The role in words, for a comment in master.cf and for `check`.
    pub(crate) purpose: &'static str,
    /// The columns of master.cf between name and arguments, as in master(5): type, private,
    /// unprivileged, chroot, wakeup, processes, command.
    pub(crate) columns: &'static str,
    pub(super) groups: &'static [&'static [Group]],
}

/// Overrides with one reason.
#[derive(Debug)]
pub struct Group {
    /// The effect of main.cf without these overrides.
    pub why: &'static str,
    /// The version of Postfix that added the parameters. An older one warns of them.
    pub since: Version,
    /// Each parameter with the value that the service needs.
    pub overrides: &'static [(&'static str, Value)],
}

/// One `-o parameter=value` of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Override {
    /// The parameter of main.cf that no longer applies.
    pub(crate) parameter: &'static str,
    /// The value that the service needs.
    pub(crate) value: Value,
    /// The version of Postfix that added the parameter.
    pub(crate) since: Version,
}

/// The value of an override: a constant, or filled in by an installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// A constant.
    Text(&'static str),
    /// The gateway's milter, which mail must not bypass.
    Milter,
    /// The admin's milters that sign replies.
    Signers,
    /// `milter.internal_daemon_name` of gateway.toml.
    DaemonName,
    /// Loopback; with IPv6 if one of the ports has such an address.
    Networks,
}

/// The values that an installation fills in.
#[derive(Clone, Debug)]
pub struct Filling {
    /// The port for replies, as `reply.smtp` has it: `127.0.0.1:18025`.
    pub replies: String,
    /// The internal listener: `127.0.0.1:18026`.
    pub internal: String,
    /// The milter's socket as smtpd finds it: `inet:127.0.0.1:8890`.
    pub milter: String,
    /// The milters that sign replies, in the syntax of `smtpd_milters`; often empty.
    pub signers: String,
    /// `milter.internal_daemon_name` of gateway.toml.
    pub daemon_name: String,
    /// The version of the installed Postfix.
    pub postfix: Version,
}

impl Default for Filling {
    /// The values of the templates in `postfix/`.
    fn default() -> Self {
        Self {
            replies: "127.0.0.1:18025".to_owned(),
            internal: "127.0.0.1:18026".to_owned(),
            milter: "inet:127.0.0.1:8890".to_owned(),
            signers: String::new(),
            daemon_name: "kms-gateway-internal".to_owned(),
            postfix: OLDEST,
        }
    }
}

/// The settings of the gateway's milter at the internal listener: while the gateway is down
/// the answer is 451. The times are those of `smtpd_milters` in main.cf.
const INSISTENT: &str =
    "default_action=tempfail,connect_timeout=2s,command_timeout=10s,content_timeout=60s";

impl Value {
    /// The value as main.cf would write it.
    pub fn filled(self, filling: &Filling) -> String {
        match self {
            Self::Text(text) => text.to_owned(),
            Self::Milter => format!("{{{},{INSISTENT}}}", filling.milter),
            Self::Signers => filling.signers.clone(),
            Self::DaemonName => filling.daemon_name.clone(),
            Self::Networks if filling.replies.contains('[') || filling.internal.contains('[') => {
                "127.0.0.0/8,[::1]/128".to_owned()
            }
            Self::Networks => "127.0.0.0/8".to_owned(),
        }
    }
}

impl Service {
    /// The first column of master.cf.
    pub(crate) fn name(&self, filling: &Filling) -> String {
        match self.role {
            Role::Internal => filling.internal.clone(),
            Role::Replies => filling.replies.clone(),
            Role::Transport => TRANSPORT.to_owned(),
            Role::Cleanup => CLEANUP.to_owned(),
        }
    }

    /// The name and type for postconf(1): `kms-gateway/unix`.
    pub fn key(&self, filling: &Filling) -> String {
        let kind = self.columns.split(' ').next().unwrap_or_default();
        format!("{}/{kind}", self.name(filling))
    }

    /// The overrides, grouped by reason. The groups that both ports share come last.
    pub fn groups(&self) -> impl Iterator<Item = &'static Group> {
        self.groups.iter().copied().flatten()
    }

    /// Every override, in the order of master.cf.
    pub(crate) fn overrides(&self) -> impl Iterator<Item = Override> {
        self.groups().flat_map(|group| {
            let of_group = |&(parameter, value)| Override {
                parameter,
                value,
                since: group.since,
            };
            group.overrides.iter().map(of_group)
        })
    }

    /// The arguments `-o parameter=value` that this version of Postfix knows.
    fn arguments(&self, filling: &Filling) -> impl Iterator<Item = String> {
        self.overrides()
            .filter(|it| it.since <= filling.postfix)
            .map(|it| argument(it.parameter, &it.value.filled(filling)))
    }

    /// The entry in one line, for `postconf -Me`.
    pub(crate) fn entry(&self, filling: &Filling) -> String {
        let head = [self.name(filling), self.columns.to_owned()];
        let parts: Vec<String> = head.into_iter().chain(self.arguments(filling)).collect();
        parts.join(" ")
    }

    /// The entry as in a master.cf written by hand: an override on each line.
    #[cfg(test)]
    pub(crate) fn lines(&self, filling: &Filling) -> String {
        use std::fmt::Write as _;
        let mut lines = format!("{} {}\n", self.name(filling), self.columns);
        for argument in self.arguments(filling) {
            let _ = writeln!(lines, "  {argument}");
        }
        lines
    }
}

/// One `-o`. A value with blanks gets braces.
fn argument(parameter: &str, value: &str) -> String {
    match value.contains(char::is_whitespace) {
        true => format!("-o {{ {parameter} = {value} }}"),
        false => format!("-o {parameter}={value}"),
    }
}
