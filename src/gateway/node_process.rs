//! The identity of this process among those that may have a gateway's name, and whether another of
//! them has ended.

use std::{fs, process};

use rustix::{
    io::Errno,
    process::{Pid, test_kill_process},
};
use sha2::{Digest as _, Sha256};

use crate::{
    secrets::{RandomError, random_array},
    store::NodeProcess,
};

/// The machine's identity (machine-id(5)). Containers may have none.
const MACHINE_ID: &str = "/etc/machine-id";

/// The identity of this process.
pub(super) fn this_process() -> Result<NodeProcess, RandomError> {
    Ok(NodeProcess {
        id: random_array()?,
        pid: process::id(),
        machine: machine(),
    })
}

/// A digest of the machine's identity, which itself is not for others to know. Empty if there is
/// none.
fn machine() -> String {
    let id = fs::read_to_string(MACHINE_ID).unwrap_or_default();
    match id.trim() {
        "" => String::new(),
        id => hex::encode(Sha256::digest(format!("kms-gateway {id}"))),
    }
}

/// Whether both are known to be on one machine.
pub(super) fn is_beside(one: &NodeProcess, other: &NodeProcess) -> bool {
    !one.machine.is_empty() && one.machine == other.machine
}

/// Whether both are known to be on different machines.
pub(super) fn is_elsewhere(one: &NodeProcess, other: &NodeProcess) -> bool {
    let are_known = !one.machine.is_empty() && !other.machine.is_empty();
    are_known && one.machine != other.machine
}

/// Whether a process has surely ended: it was beside this one, and nobody has its number now but
/// perhaps this one.
pub(super) fn has_ended(other: &NodeProcess, this: &NodeProcess) -> bool {
    is_beside(other, this) && (other.pid == this.pid || !is_there(other.pid))
}

/// Whether a process has this number on this machine.
fn is_there(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    // A process of another user is there too, and refuses.
    pid.is_none_or(|pid| test_kill_process(pid) != Err(Errno::SRCH))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::process::Command;

    use super::*;

    fn on(machine: &str, pid: u32) -> NodeProcess {
        NodeProcess {
            id: [0; 16],
            pid,
            machine: machine.to_owned(),
        }
    }

    #[test]
    fn a_process_beside_this_one_has_ended_when_its_number_is_free() {
        let this = on("a", process::id());
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let pid = child.id();
        assert!(!has_ended(&on("a", pid), &this));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(has_ended(&on("a", pid), &this));
        for elsewhere in ["b", ""] {
            assert!(!has_ended(&on(elsewhere, pid), &this), "{elsewhere:?}");
        }
        assert!(!has_ended(&on("", pid), &on("", 1)), "nothing is known");
    }

    #[test]
    fn a_number_that_came_again_is_no_other_process() {
        let this = this_process().unwrap();
        let former = NodeProcess {
            id: [7; 16],
            ..this.clone()
        };
        assert_ne!(former.id, this.id);
        assert_eq!(has_ended(&former, &this), !this.machine.is_empty());
    }

    #[test]
    fn what_is_unknown_is_neither_beside_nor_elsewhere() {
        for (one, other, beside, elsewhere) in [
            ("a", "a", true, false),
            ("a", "b", false, true),
            ("a", "", false, false),
            ("", "", false, false),
        ] {
            let (one, other) = (on(one, 1), on(other, 2));
            assert_eq!(is_beside(&one, &other), beside);
            assert_eq!(is_elsewhere(&one, &other), elsewhere);
        }
    }
}
