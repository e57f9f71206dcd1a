//! Measures the gateway beside Postfix without it and beside its peers, in
//! interleaved rounds of one run. `scripts/bench` runs it in full; without
//! arguments each measurement is made once, on a few messages, so that it is
//! known to work. Nothing here fails because something was slow.

#![allow(
    unreachable_pub,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod arena;
mod bare;
mod commits;
mod conversation;
mod figures;
mod full_stores;
#[path = "../harness/mod.rs"]
mod harness;
mod machine;
mod memory;
mod peers;
mod plan;
mod report;
mod requests;
mod sample;
mod sessions;
mod start;
mod stores;
mod tasks;
mod throughput;

use std::{env, process::ExitCode, time::Instant};

use arena::Arena;
use plan::Plan;
use report::{Report, Section};

type Measure = fn(&mut Arena, &Plan) -> Section;

/// The measurements in order. Memory comes last, as it starts a fresh gateway.
const SECTIONS: &[(&str, Measure)] = &[
    ("throughput", throughput::measure),
    ("requests", requests::measure),
    ("sessions", sessions::measure),
    ("commits", commits::measure),
    ("start", start::measure),
    ("full-stores", full_stores::measure),
    ("memory", memory::measure),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["peer", kind, address, ref rest @ ..] => peers::serve(kind, address, rest),
        [] => run(&Plan::short(), &[], None),
        ["full", report, ref only @ ..] => run(&Plan::full(), only, Some(report)),
        // Cargo hands the same arguments to every test program, such as a name.
        _ => {
            println!("bench: not one that is chosen by {arguments:?}");
            ExitCode::SUCCESS
        }
    }
}

/// Measures these sections, or all, and reports which bounds were missed. A short
/// run judges no bound.
fn run(plan: &Plan, only: &[&str], file: Option<&str>) -> ExitCode {
    let mut arena = Arena::start(plan);
    let mut report = Report::new(&machine::description(), plan);
    for (name, measure) in SECTIONS {
        if only.is_empty() || only.contains(name) {
            let started = Instant::now();
            println!("{name} ...");
            report.add(measure(&mut arena, plan));
            println!("{name}: {:.0} s", started.elapsed().as_secs_f64());
        }
    }
    print!("{}", report.for_a_terminal());
    let Some(file) = file else {
        return ExitCode::SUCCESS;
    };
    std::fs::write(file, report.in_markdown()).expect("the report");
    println!("\nThe report is in {file}.");
    match report.missed() {
        0 => ExitCode::SUCCESS,
        missed => {
            println!("{missed} bounds were missed.");
            ExitCode::FAILURE
        }
    }
}
