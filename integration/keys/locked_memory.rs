//! The memory of the process: secrets are locked in it, no core is dumped, and no
//! other process of the user looks in.

use std::{
    fs,
    os::unix::{fs::MetadataExt, process::CommandExt},
    process::{Command, Stdio},
    time::Duration,
};

use crate::harness::{Draft, Layout, Module, SoftwareModule, until};

/// The process runs as nobody here: root may look into any process.
#[test]
fn no_core_is_dumped_and_no_other_process_of_the_user_looks_in() {
    const NOBODY: u32 = 65534;
    let mut waiting = Command::new(env!("CARGO_BIN_EXE_kms-gateway"));
    waiting.args(["record", "-"]).uid(NOBODY).gid(NOBODY);
    let mut child = waiting
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("it runs as nobody");
    let file = |name: &str| format!("/proc/{}/{name}", child.id());
    let owner = |name: &str| fs::metadata(file(name)).expect("it runs").uid();
    until("it is not dumpable", Duration::from_secs(20), || {
        (owner("environ") == 0 && owner("mem") == 0).then_some(())
    });
    let limits = fs::read_to_string(file("limits")).expect("its limits");
    let core = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max core file size"))
        .expect("a limit");
    assert_eq!(
        core.split_whitespace().take(2).collect::<Vec<_>>(),
        ["0", "0"]
    );
    // Another process of the same user.
    let mut look = Command::new("cat");
    look.arg(file("environ")).uid(NOBODY).gid(NOBODY);
    let seen = look.output().expect("cat");
    assert!(!seen.status.success() && seen.stdout.is_empty(), "{seen:?}");
    drop(child.stdin.take());
    let _ = child.wait();
}

#[test]
fn secrets_lie_in_locked_memory_and_nothing_else_does() {
    let layout = Layout::new();
    let module = SoftwareModule::new(&layout, "94000001");
    let public_key = layout.gateway(&["kmc", "public-key"]);
    let site = layout.start();
    let gateway = site.gateway.as_ref().expect("it runs").id();
    let before = locked_kilobytes(gateway);
    assert!((4..=64).contains(&before), "{before} kB");
    for number in 0..5 {
        let reply = site.ask(&Draft::request(
            &format!("{{KMS:GetKlfStsEd2}} {number}"),
            &module.request(&public_key),
        ));
        assert_eq!(reply.result()[0], "Success");
    }
    assert_eq!(locked_kilobytes(gateway), before);
}

#[test]
fn where_nothing_may_be_locked_the_log_says_so() {
    let layout = Layout::new();
    // Root may lock whatever the limit is, but for this.
    let gateway = layout.start_gateway_by(&[
        "setpriv",
        "--bounding-set=-ipc_lock",
        "prlimit",
        "--memlock=0",
    ]);
    assert_eq!(locked_kilobytes(gateway.id()), 0);
    gateway.wait_for_log("secrets may be swapped out");
    assert!(gateway.stop().success());
}

/// The memory of the process that the operating system may not swap out.
fn locked_kilobytes(process: u32) -> u32 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("its status");
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmLck:"))
        .and_then(|amount| amount.trim().strip_suffix(" kB"))
        .and_then(|amount| amount.parse().ok())
        .expect("an amount")
}
