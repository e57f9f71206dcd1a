//! The memory, CPU time and file descriptors of a process, by proc(5).

use std::fs;

/// A process's memory and time on a CPU.
#[derive(Clone, Copy, Debug)]
pub struct Usage(pub u32);

impl Usage {
    /// Memory it holds now, in KiB.
    pub fn memory(self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most memory it held since [`Self::forget_peak`], in KiB.
    pub fn peak(self) -> u64 {
        self.status("VmHWM:")
    }

    /// Begins anew to watch for the most memory.
    pub fn forget_peak(self) {
        fs::write(self.path("clear_refs"), "5").expect("a right of root");
    }

    /// Time on a CPU so far, in ticks of the clock (100 a second).
    pub fn cpu(self) -> u64 {
        let stat = fs::read_to_string(self.path("stat")).expect("it runs");
        // Its second field, the name, may contain blanks.
        let (_, rest) = stat.rsplit_once(')').expect("a name");
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let ticks = |field: usize| fields[field - 3].parse::<u64>().expect("a number");
        ticks(14) + ticks(15)
    }

    /// Open file descriptors.
    pub fn descriptors(self) -> usize {
        fs::read_dir(self.path("fd")).expect("it runs").count()
    }

    fn status(self, name: &str) -> u64 {
        let status = fs::read_to_string(self.path("status")).expect("it runs");
        let value = status.lines().find_map(|line| line.strip_prefix(name));
        let value = value.and_then(|value| value.trim().strip_suffix(" kB"));
        value.expect("in KiB").parse().expect("a number")
    }

    fn path(self, file: &str) -> String {
        format!("/proc/{}/{file}", self.0)
    }
}
