//! Asks a person for missing options.

use std::{
    fmt::Display,
    io::{self, BufRead, IsTerminal as _, Write},
    str::FromStr,
};

use crate::commands::{CommandError, prompt::next_line};

/// A question: the option that answers it, without its dashes, and its words.
pub(super) struct Question(pub(super) &'static str, pub(super) &'static str);

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
        Question(option, text): Question,
        given: Option<T>,
        proposal: Option<T>,
    ) -> Result<T, CommandError>
    where
        T: FromStr<Err: Display> + Display,
    {
        if let Some(given) = given {
            return Ok(given);
        }
        let missing = || CommandError::other(format_args!("no answer for {text}; give --{option}"));
        let Some(answers) = &mut self.answers else {
            return proposal.ok_or_else(missing);
        };
        let mut prompt = match &proposal {
            Some(proposal) => format!("{text} [{proposal}]"),
            None => text.to_owned(),
        };
        loop {
            let line = next_line(answers, &mut self.prompts, &prompt)?.ok_or_else(missing)?;
            match (line.trim(), proposal.is_some()) {
                ("", true) => return proposal.ok_or_else(missing),
                ("", false) => {}
                (answer, _) => match answer.parse() {
                    Ok(answer) => return Ok(answer),
                    Err(problem) => prompt = format!("{problem}\n{text}"),
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

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
            .ask(Question("number", "a number"), given, proposal)
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
