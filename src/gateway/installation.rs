//! The facts of this installation that help texts state: addresses and limits from
//! the configuration, and the reasons for no answer from the policy's table.

use super::environment::addresses;
use crate::{
    config::Config,
    policy::RULES,
    services::{HelpTexts, Installation, Limits},
};

/// The facts of the installation with this configuration.
pub(crate) fn installation(config: &Config) -> Installation {
    Installation {
        addresses: addresses(&config.gateway.addresses),
        limits: limits(config),
        unanswered: unanswered(config),
        stsa_addresses: addresses(&config.module_update.stsa_addresses),
        help: HelpTexts::default(),
    }
}

/// The reasons why a message may get no answer, from the rules that are switched on.
fn unanswered(config: &Config) -> Vec<&'static str> {
    let rules = RULES
        .iter()
        .filter(|rule| rule.switch.is_none_or(|key| config.is_set(key)));
    rules.filter_map(|rule| rule.unanswered).collect()
}

fn limits(config: &Config) -> Limits {
    let Config {
        policy,
        key_load_file,
        throttle,
        worker,
        reply,
        ..
    } = config;
    Limits {
        message_bytes: policy.max_message_bytes,
        unexpected_attachment_bytes: policy.max_unexpected_attachment_bytes,
        targets: reply.max_targets,
        age: key_load_file.max_age.in_words(),
        ahead: key_load_file.max_ahead.in_words(),
        issues: key_load_file.max_issues.get(),
        issues_within: key_load_file.max_issues_within.in_words(),
        at_once: throttle.at_once,
        every: throttle.every.in_words(),
        block_above: throttle.block_above,
        block_for: throttle.block_for.in_words(),
        notice_after: worker.notice_after.in_words(),
        give_up: worker.give_up.in_words(),
    }
}
