//! A row of the table of result codes.

/// The kind of result that a code stands for (STS600-9-2 8.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeKind {
    /// Final: the request failed.
    Error,
    /// Not final: more mail follows.
    Notice,
}

/// The subject of a code. Texts for people are grouped by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concern {
    /// The message as mail.
    Message,
    /// The record in the body.
    Record,
    /// The Vending Key Load Request in the record.
    VendingKeyLoadRequest,
    /// An update file from the STSA.
    Update,
    /// The gateway itself.
    Gateway,
    /// A request whose answer comes later.
    Waiting,
}

impl Concern {
    /// All subjects, in the order of texts for people.
    pub const ALL: [Concern; 6] = [
        Concern::Message,
        Concern::Record,
        Concern::VendingKeyLoadRequest,
        Concern::Update,
        Concern::Gateway,
        Concern::Waiting,
    ];

    /// The heading above the codes with this subject.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Concern::Message => "Errors in the message",
            Concern::Record => "Errors in the record",
            Concern::VendingKeyLoadRequest => "Errors of a VKLOADREQ",
            Concern::Update => "Errors of an update file",
            Concern::Gateway => "Errors of the gateway",
            Concern::Waiting => "Notices: the answer comes later",
        }
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResultCode {
    /// The code in `X-Gateway-Result`.
    pub code: &'static str,
    /// Error or notice.
    pub kind: CodeKind,
    /// The heading that lists the code.
    pub concern: Concern,
    /// A clause that says what happened.
    pub meaning: &'static str,
    /// The usual causes.
    pub cause: &'static str,
    /// Advice on how to proceed.
    pub remedy: &'static str,
    /// The meaning of the parameters. Empty if the code has none.
    pub parameters: &'static str,
}

impl ResultCode {
    /// The human-readable description: what happened, and how to proceed.
    pub fn description(&self) -> String {
        format!("{}; {}", self.meaning, self.remedy)
    }
}
