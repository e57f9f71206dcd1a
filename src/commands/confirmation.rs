//! Asks a person to confirm an order that can't be undone.

use std::io::{self, BufRead, IsTerminal as _, Write};

use super::{CommandError, prompt::next_line};

/// Asks at the terminal, unless `yes` was given.
///
/// # Errors
/// The answer was not yes, or standard input is no terminal.
pub(super) fn confirm(question: &str, yes: bool) -> Result<(), CommandError> {
    let stdin = io::stdin();
    let answers = stdin.is_terminal().then(|| stdin.lock());
    confirmed(question, yes, answers, io::stderr())
}

fn confirmed(
    question: &str,
    yes: bool,
    answers: Option<impl BufRead>,
    mut prompts: impl Write,
) -> Result<(), CommandError> {
    if yes {
        return Ok(());
    }
    let Some(mut answers) = answers else {
        return Err(CommandError::usage(format_args!(
            "{question} Nothing was done: standard input is no terminal to confirm this at; give \
             --yes"
        )));
    };
    let prompt = format!("{question} Go on? [y/N]");
    let answer = next_line(&mut answers, &mut prompts, &prompt)?.unwrap_or_default();
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(CommandError::other("nothing was done")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn asked(yes: bool, answers: Option<&str>) -> (Result<(), CommandError>, String) {
        let mut prompts = Vec::new();
        let answers = answers.map(str::as_bytes);
        let confirmed = confirmed("This drops 7 requests.", yes, answers, &mut prompts);
        (confirmed, String::from_utf8(prompts).unwrap())
    }

    #[test]
    fn only_a_yes_is_one() {
        for (answer, is_yes) in [
            ("y\n", true),
            ("YES\n", true),
            ("n\n", false),
            ("\n", false),
            ("", false),
            ("yesterday\n", false),
        ] {
            let (confirmed, prompts) = asked(false, Some(answer));
            assert_eq!(confirmed.is_ok(), is_yes, "{answer:?}");
            assert_eq!(prompts, "This drops 7 requests. Go on? [y/N]: ");
        }
    }

    #[test]
    fn nobody_is_asked_who_said_yes_or_is_not_there() {
        let (confirmed, prompts) = asked(true, Some("n\n"));
        assert!(confirmed.is_ok() && prompts.is_empty());
        let (refused, prompts) = asked(false, None);
        let error = refused.unwrap_err();
        assert!(matches!(error, CommandError::Usage(_)) && prompts.is_empty());
        let text = error.to_string();
        assert!(
            text.contains("7 requests") && text.contains("--yes"),
            "{text}"
        );
    }
}
