//! The memory limit for messages: the configured one, but no more than a part of
//! the control group's limit. Knows no message.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::config::{Config, Milter};

/// Messages get at most a fourth of the control group's memory. Connections, the
/// worker, the database and the allocator's losses need the rest.
const PART: u64 = 4;

/// Returns `milter.max_memory` in bytes, or a part of the control group's limit if that
/// is less; but always enough for one message.
pub(crate) fn message_memory(config: &Config) -> usize {
    let allowed = group_limit().map_or(u64::MAX, |limit| limit / PART);
    let least = Milter::least_memory(config.policy.max_message_bytes);
    let bytes = config.milter.max_memory.min(allowed).max(least);
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// The memory limit of this process's control group, in bytes.
fn group_limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    lowest_limit(&groups, Path::new("/sys/fs/cgroup"))
}

/// The lowest limit of the groups in `groups` (the content of /proc/self/cgroup) and
/// of their parents. `root` is the mount point of the control groups, of version 1
/// or 2.
fn lowest_limit(groups: &str, root: &Path) -> Option<u64> {
    groups
        .lines()
        .filter_map(|line| limits_of(line, root).min())
        .min()
}

fn limits_of(line: &str, root: &Path) -> impl Iterator<Item = u64> {
    let mut fields = line.splitn(3, ':').skip(1);
    let controllers = fields.next().unwrap_or_default();
    let group = fields.next().unwrap_or_default().trim_start_matches('/');
    let (mount, file) = match controllers {
        "" => (Some(root.to_owned()), "memory.max"),
        _ if controllers.split(',').any(|own| own == "memory") => {
            (Some(root.join("memory")), "memory.limit_in_bytes")
        }
        _ => (None, ""),
    };
    mount.into_iter().flat_map(move |mount| {
        let within: PathBuf = mount.join(group);
        let depth = Path::new(group).components().count();
        let groups: Vec<PathBuf> = within
            .ancestors()
            .take(depth + 1)
            .map(Path::to_owned)
            .collect();
        // In a container the path may be the host's, so that only the root exists. A
        // group without a limit has no number in its file.
        groups.into_iter().filter_map(move |group| {
            let text = fs::read_to_string(group.join(file)).ok()?;
            text.trim().parse().ok()
        })
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tempfile::TempDir;

    use super::*;

    fn mounted(files: &[(&str, &str)]) -> TempDir {
        let directory = TempDir::new().unwrap();
        for (file, limit) in files {
            let file = directory.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, limit).unwrap();
        }
        directory
    }

    #[test]
    fn the_lowest_limit_above_a_group_counts() {
        let root = mounted(&[
            ("system.slice/memory.max", "1000000\n"),
            ("system.slice/kms-gateway.service/memory.max", "max\n"),
            ("user.slice/memory.max", "5\n"),
        ]);
        let groups = "0::/system.slice/kms-gateway.service\n";
        assert_eq!(lowest_limit(groups, root.path()), Some(1_000_000));
        assert_eq!(lowest_limit("0::/\n", root.path()), None);
        assert_eq!(lowest_limit("", root.path()), None);
    }

    #[test]
    fn the_first_version_of_control_groups_is_read_too() {
        let root = mounted(&[
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/jobs/memory.limit_in_bytes", "268435456\n"),
            (
                "memory/jobs/one/memory.limit_in_bytes",
                "9223372036854771712\n",
            ),
        ]);
        let groups = "5:cpu,cpuacct:/other\n4:memory:/jobs/one\n0::/\n";
        assert_eq!(lowest_limit(groups, root.path()), Some(268_435_456));
    }

    #[test]
    fn in_a_container_the_root_s_limit_counts() {
        let root = mounted(&[("memory.max", "1048576\n")]);
        assert_eq!(
            lowest_limit("0::/docker/1234\n", root.path()),
            Some(1_048_576)
        );
    }
}
