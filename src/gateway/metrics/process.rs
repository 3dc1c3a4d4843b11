//! What the operating system says of this process, where it says it (Linux: `/proc/self`).

use std::fs;

/// Clock ticks in a second, in which `/proc` counts processor time. It has been 100 on every Linux for decades.
const TICKS: u64 = 100;

/// What is known.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Process {
    /// Processor time, in microseconds.
    pub(super) cpu: u64,
    /// In bytes.
    pub(super) resident: u64,
    /// In bytes.
    pub(super) virtual_memory: u64,
    /// Open files.
    pub(super) files: u64,
}

/// Asks. What cannot be had is zero.
pub(super) fn ask() -> Process {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0_u64)
    };
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name, which may hold anything; then utime and stime are the twelfth and thirteenth.
    let times = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().skip(11).take(2);
    let ticks: u64 = times.filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    let files =
        fs::read_dir("/proc/self/fd").map_or(0, |entries| u64::try_from(entries.count()).unwrap_or(0));
    Process {
        cpu: ticks.saturating_mul(1_000_000 / TICKS),
        resident: kilobytes("VmRSS:").saturating_mul(1024),
        virtual_memory: kilobytes("VmSize:").saturating_mul(1024),
        files,
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_known() {
        let process = ask();
        assert!(process.resident > 1024 * 1024 && process.virtual_memory >= process.resident);
        assert!(process.files >= 3);
    }
}
