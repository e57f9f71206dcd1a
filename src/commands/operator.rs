//! Identifies the person who gives a command, for the audit log.

use std::env;

use rustix::process::getuid;

use crate::{
    gateway::clock,
    store::{Order, Store},
};

/// An order for this store, given by this person now.
pub(super) fn order(store: &Store) -> Order {
    Order {
        at: clock::now(store),
        operator: operator(),
    }
}

/// The person: a name from the environment, which sudo sets for its caller, and the
/// user id, which the kernel knows.
fn operator() -> String {
    let names = ["SUDO_USER", "USER", "LOGNAME"];
    let name = names.into_iter().find_map(|name| env::var(name).ok());
    shown(name.as_deref(), getuid().as_raw())
}

fn shown(name: Option<&str>, user: u32) -> String {
    match name.filter(|name| !name.is_empty()) {
        Some(name) => format!("{name} (uid {user})"),
        None => format!("uid {user}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_id_is_always_told() {
        assert_eq!(shown(Some("jane"), 0), "jane (uid 0)");
        assert_eq!(shown(Some(""), 1000), "uid 1000");
        assert_eq!(shown(None, 1000), "uid 1000");
    }
}
