//! Asks a person for missing options. Knows a terminal only as lines that come and
//! go.

use std::{
    fmt::{Display, Write as _},
    io::{self, BufRead, IsTerminal as _, Write},
    str::FromStr,
};

use crate::commands::CommandError;

/// A question, and the option that answers it on the command line.
pub(super) struct Question {
    /// The option's name, without its dashes.
    pub(super) option: &'static str,
    /// The question's words, such as `Database file`.
    pub(super) text: &'static str,
}

/// Asks a person at a terminal, or nobody.
pub(super) struct Questions<In, Out> {
    answers: Option<In>,
    prompts: Out,
}

impl Questions<io::StdinLock<'static>, io::Stderr> {
    /// Asks at the terminal, if standard input is one.
    pub(super) fn of_terminal() -> Self {
        let stdin = io::stdin();
        Self {
            answers: stdin.is_terminal().then(|| stdin.lock()),
            prompts: io::stderr(),
        }
    }
}

impl<In: BufRead, Out: Write> Questions<In, Out> {
    /// Whether there is a person, who can turn a proposal down.
    pub(super) fn has_somebody(&self) -> bool {
        self.answers.is_some()
    }

    /// Returns the given value, or else a person's answer. An empty answer, or a missing
    /// person, takes the proposal.
    ///
    /// # Errors
    /// There is neither a person nor a proposal, or the answers ended.
    pub(super) fn ask<T>(
        &mut self,
        question: &Question,
        given: Option<T>,
        proposal: Option<T>,
    ) -> Result<T, CommandError>
    where
        T: FromStr<Err: Display> + Display,
    {
        if let Some(given) = given {
            return Ok(given);
        }
        let Some(answers) = &mut self.answers else {
            return proposal.ok_or_else(|| missing(question));
        };
        let mut prompt = question.text.to_owned();
        if let Some(proposal) = &proposal {
            // Writing to a string does not fail.
            let _ = write!(prompt, " [{proposal}]");
        }
        loop {
            let line = next_line(answers, &mut self.prompts, &prompt)
                .map_err(|error| CommandError::other(format_args!("can't ask: {error}")))?
                .ok_or_else(|| missing(question))?;
            match (line.trim(), proposal.is_some()) {
                ("", true) => return proposal.ok_or_else(|| missing(question)),
                ("", false) => {}
                (answer, _) => match answer.parse() {
                    Ok(answer) => return Ok(answer),
                    Err(problem) => prompt = format!("{problem}\n{}", question.text),
                },
            }
        }
    }
}

fn next_line(
    answers: &mut impl BufRead,
    prompts: &mut impl Write,
    prompt: &str,
) -> io::Result<Option<String>> {
    /// In bytes; more than any answer.
    const LONGEST_LINE: u64 = 64 * 1024;
    write!(prompts, "{prompt}: ")?;
    prompts.flush()?;
    let mut line = String::new();
    let read = io::Read::take(answers, LONGEST_LINE).read_line(&mut line)?;
    Ok((read > 0).then_some(line))
}

fn missing(question: &Question) -> CommandError {
    CommandError::other(format_args!(
        "no answer for {}; give --{}",
        question.text, question.option
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const NUMBER: Question = Question {
        option: "number",
        text: "a number",
    };

    fn asked(
        answers: Option<&str>,
        given: Option<u8>,
        proposal: Option<u8>,
    ) -> (Result<u8, String>, String) {
        let mut questions = Questions {
            answers: answers.map(str::as_bytes),
            prompts: Vec::new(),
        };
        let answer = questions
            .ask(&NUMBER, given, proposal)
            .map_err(|error| error.to_string());
        (answer, String::from_utf8(questions.prompts).unwrap())
    }

    #[test]
    fn what_was_given_is_not_asked_for() {
        assert_eq!(asked(Some("2\n"), Some(1), None), (Ok(1), String::new()));
    }

    #[test]
    fn an_empty_answer_takes_the_proposal() {
        let (answer, prompts) = asked(Some("\n"), None, Some(3));
        assert_eq!((answer, prompts.as_str()), (Ok(3), "a number [3]: "));
    }

    #[test]
    fn it_is_asked_again_until_the_answer_is_one() {
        let (answer, prompts) = asked(Some("\nmany\n 5 \n"), None, None);
        assert_eq!(answer, Ok(5));
        assert_eq!(
            prompts,
            "a number: a number: invalid digit found in string\na number: "
        );
    }

    #[test]
    fn without_anybody_to_ask_the_proposal_counts_or_the_option_is_named() {
        assert_eq!(asked(None, None, Some(3)), (Ok(3), String::new()));
        let problem = "no answer for a number; give --number".to_owned();
        assert_eq!(
            asked(None, None, None),
            (Err(problem.clone()), String::new())
        );
        let (answer, _) = asked(Some(""), None, None);
        assert_eq!(answer, Err(problem));
    }
}
