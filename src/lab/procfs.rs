//! What /proc tells of a server: the process, its threads, and the children that it has now (proc(5)).
//!
//! Whatever ends while it is read is missed, and counts as nothing.

use std::fs;

/// The process and the children that it has now: they serve under fork, prefork and reuseport.
#[must_use]
pub fn members(process: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children"));
    let children = children.unwrap_or_default();
    let children = children.split_ascii_whitespace().filter_map(|number| number.parse().ok());
    std::iter::once(process).chain(children).collect()
}

/// Context switches so far of all threads of these processes, voluntary and not.
#[must_use]
pub fn switches(members: &[u32]) -> u64 {
    let of_thread = |path: String| -> u64 {
        let status = fs::read_to_string(path).unwrap_or_default();
        let lines = status.lines().filter(|line| line.contains("ctxt_switches:"));
        lines.filter_map(|line| line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()).sum()
    };
    let of_process = |process: &u32| -> u64 {
        let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return 0 };
        threads.flatten().map(|t| of_thread(format!("{}/status", t.path().display()))).sum()
    };
    members.iter().map(of_process).sum()
}

/// How many threads a process has now; 0 when it is gone.
#[must_use]
pub fn threads(process: u32) -> usize {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // Field 20, counted from behind the name.
    let threads = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_ascii_whitespace().nth(17));
    threads.and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// CPU time of one process by mode, in clock ticks (usually 10 ms): too coarse for a sum over many processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticks {
    /// In user mode.
    pub user: u64,
    /// In the kernel.
    pub system: u64,
}

/// The ticks of each of these processes, in their order.
#[must_use]
pub fn ticks(members: &[u32]) -> Vec<Ticks> {
    let of = |process: &u32| {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        parse_ticks(&stat)
    };
    members.iter().map(|process| of(process).unwrap_or_default()).collect()
}

/// Fields 14 and 15. Field 2 is the name in brackets, which may hold spaces and brackets itself.
fn parse_ticks(stat: &str) -> Option<Ticks> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11).map(str::parse);
    Some(Ticks { user: fields.next()?.ok()?, system: fields.next()?.ok()? })
}

/// The share of user mode between two readings, 0 to 1. `None` where ticks are too coarse to say: each process that ran is
/// wrong by up to one, so there must be [`TICKS`] for each; and a mode with none at all took less than a tick, not nothing.
#[must_use]
pub fn user_share(before: &[Ticks], after: &[Ticks]) -> Option<f64> {
    let spent = before.iter().zip(after).map(|(before, after)| Ticks {
        user: after.user.saturating_sub(before.user),
        system: after.system.saturating_sub(before.system),
    });
    let ran = spent.filter(|spent| spent.user + spent.system > 0);
    let (n, all) = ran.fold((0, Ticks::default()), |(n, all), one| {
        (n + 1, Ticks { user: all.user + one.user, system: all.system + one.system })
    });
    let sum = all.user + all.system;
    (n > 0 && sum >= TICKS * n && all.user > 0 && all.system > 0)
        .then(|| all.user as f64 / sum as f64)
}

/// How many ticks a process must have run for its split to be told.
pub const TICKS: u64 = 40;

/// Memory of some processes together, in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Resident sets added up: what processes share is counted once for each.
    pub rss_kib: u64,
    /// Proportional sets added up, without the pages of files: what processes share is counted once in all. The
    /// program's text is shared with whoever else runs it, so its share changes with them and not with the clients.
    pub pss_kib: u64,
}

/// At most so many processes are read; the others are taken to be like them, which children of one parent are.
const READ: usize = 256;

/// The memory of these processes, from /proc/PID/smaps_rollup; `None` where the kernel has no such file or this user may
/// not read it.
#[must_use]
pub fn memory(members: &[u32]) -> Option<Memory> {
    // The first one is the parent of all others and unlike them.
    let (parent, children) = members.split_first()?;
    let mut all = parse_memory(&rollup(*parent)?)?;
    let step = children.len().div_ceil(READ).max(1);
    let read = children.iter().step_by(step).filter_map(|&child| parse_memory(&rollup(child)?));
    let (n, some) = read.fold((0, Memory::default()), |(n, sum), one| {
        let (rss_kib, pss_kib) = (sum.rss_kib + one.rss_kib, sum.pss_kib + one.pss_kib);
        (n + 1, Memory { rss_kib, pss_kib })
    });
    let scale = |kib: u64| kib * children.len() as u64 / n.max(1);
    all.rss_kib += scale(some.rss_kib);
    all.pss_kib += scale(some.pss_kib);
    Some(all)
}

fn rollup(process: u32) -> Option<String> {
    fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok()
}

fn parse_memory(rollup: &str) -> Option<Memory> {
    let of = |name: &str| -> Option<u64> {
        let line = rollup.lines().find(|line| line.split(':').next() == Some(name))?;
        line.split_ascii_whitespace().nth(1)?.parse().ok()
    };
    // Since Linux 5.4; before, the pages of files stay in.
    let of_files = of("Pss_File").unwrap_or(0);
    Some(Memory { rss_kib: of("Rss")?, pss_kib: of("Pss")?.saturating_sub(of_files) })
}

#[cfg(test)]
mod tests {
    use super::{
        Memory, Ticks, members, memory, parse_memory, parse_ticks, switches, threads, user_share,
    };

    #[test]
    fn a_name_with_brackets_does_not_move_the_fields() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194304 100 0 0 0 31 42 5 6 20 0 1 0 99";
        assert_eq!(parse_ticks(stat), Some(Ticks { user: 31, system: 42 }));
        assert_eq!(parse_ticks("7 (a) S 1 2"), None);
    }

    #[test]
    fn memory_has_both_figures_or_is_unknown() {
        let rollup = "55-7f ---p 0 00:00 0 [rollup]\nRss:  120 kB\nPss:   80 kB\nPss_Dirty:  9 kB\nPss_File: 30 kB\n";
        assert_eq!(parse_memory(rollup), Some(Memory { rss_kib: 120, pss_kib: 50 }));
        assert_eq!(parse_memory("Rss: 1 kB\n"), None);
    }

    #[test]
    fn the_split_is_told_only_where_ticks_are_fine_enough() {
        let of = |user, system| Ticks { user, system };
        assert_eq!(user_share(&[of(1, 1)], &[of(11, 31)]), Some(0.25));
        assert_eq!(user_share(&[of(0, 0)], &[of(10, 29)]), None);
        assert_eq!(user_share(&[of(0, 0)], &[of(0, 90)]), None);
        // Idle workers do not dilute it; two that ran need twice as much.
        assert_eq!(user_share(&[of(0, 0), of(3, 3)], &[of(10, 30), of(3, 3)]), Some(0.25));
        assert_eq!(user_share(&[of(0, 0), of(0, 0)], &[of(10, 30), of(0, 1)]), None);
        assert_eq!(user_share(&[], &[]), None);
    }

    #[test]
    fn this_process_is_a_member_and_has_switched() {
        let own = members(std::process::id());
        assert_eq!(own[0], std::process::id());
        assert!(switches(&own[..1]) > 0 && threads(own[0]) > 1);
        assert!(memory(&own[..1]).is_some_and(|m| m.rss_kib >= m.pss_kib && m.pss_kib > 0));
    }
}
