//! How a command ended.

/// The end of a command that could be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Exit code 0.
    Done,
    /// The command looks for problems and found one: exit code 1.
    ProblemFound,
    /// The service ended by an error that it has logged: exit code 1.
    Failed,
}

impl Ending {
    /// The end of a command that looked for problems.
    pub(super) fn of_search(is_well: bool) -> Self {
        match is_well {
            true => Self::Done,
            false => Self::ProblemFound,
        }
    }
}
