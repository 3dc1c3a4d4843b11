//! What processes have used: processor time and memory.
//!
//! Processor time is read from the process's own clock (`clock_getcpuclockid`): nanoseconds of all its threads, those
//! that have ended included, which a sum over living threads would miss. Children count as processes of their own;
//! of those that have ended, `/proc/PID/stat` keeps the sum (in ticks of 10 ms).

use std::{fs, time::Duration};

use nix::{
    sys::resource::{Resource, getrlimit, setrlimit},
    time::{ClockId, clock_getcpuclockid, clock_gettime},
    unistd::{Pid, SysconfVar, sysconf},
};

use crate::Failure;

/// The process and everything that it has started and that lives, and so on.
pub(crate) fn family(pid: i32) -> Vec<i32> {
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(&pid) = found.get(next) {
        next += 1;
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for thread in threads.flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|child| child.parse::<i32>().ok()));
        }
    }
    found
}

/// Nanoseconds of the monotonic clock, which all processes of a machine share.
pub(crate) fn now() -> u64 {
    let now = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).expect("there is a monotonic clock"));
    u64::try_from(now.as_nanos()).expect("a machine does not run for centuries")
}

/// Raises the number of files that this process may open to what it may raise it to; returns that.
pub(crate) fn raise_open_files() -> Result<u64, Failure> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard)
}

/// Processor time, user and system, that these processes have used so far.
pub(crate) fn used(pids: &[i32]) -> Result<Duration, Failure> {
    let mut sum = Duration::ZERO;
    for &pid in pids {
        sum += Duration::from(clock_gettime(clock_getcpuclockid(Pid::from_raw(pid))?)?) + of_ended(pid)?;
    }
    Ok(sum)
}

/// Memory of processes, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// All that is resident, files that are mapped included.
    pub(crate) resident: u64,
    /// What is nobody else's and in no file.
    pub(crate) anonymous: u64,
}

/// Memory of these processes, summed.
pub(crate) fn memory(pids: &[i32]) -> Result<Memory, Failure> {
    let mut sum = Memory::default();
    for pid in pids {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let bytes = |name: &str| {
            let line = rollup.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).map(|kib| kib * 1024)
        };
        let (resident, anonymous) = bytes("Rss").zip(bytes("Anonymous")).ok_or("no memory is told")?;
        sum = Memory { resident: sum.resident + resident, anonymous: sum.anonymous + anonymous };
    }
    Ok(sum)
}

/// What the ended children of this process had used.
fn of_ended(pid: i32) -> Result<Duration, Failure> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in parentheses, may hold anything. Behind it the fields begin with the third.
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks = |number: usize| fields.get(number - 3).and_then(|field| field.parse::<u64>().ok());
    let (user, system) = ticks(16).zip(ticks(17)).ok_or("no ticks")?;
    of_ticks(user + system)
}

/// What a whole machine does.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Machine {
    /// Processor time that anything has used, interrupts included.
    pub(crate) busy: Duration,
    /// Processor time that whoever runs this machine as a guest has kept for others.
    pub(crate) stolen: Duration,
    /// Processors.
    pub(crate) processors: usize,
}

/// The machine so far (`/proc/stat`, in ticks of 10 ms).
pub(crate) fn machine() -> Result<Machine, Failure> {
    let stat = fs::read_to_string("/proc/stat")?;
    let all = stat.lines().next().ok_or("the machine tells nothing")?;
    let ticks: Vec<u64> = all.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    let [user, nice, system, _idle, _waiting, interrupts, soft, stolen, ..] = ticks[..] else {
        return Err("the machine tells too little".into());
    };
    let processors = stat.lines().filter(|line| line.starts_with("cpu")).count() - 1;
    let busy = of_ticks(user + nice + system + interrupts + soft)?;
    Ok(Machine { busy, stolen: of_ticks(stolen)?, processors })
}

fn of_ticks(ticks: u64) -> Result<Duration, Failure> {
    let per_second = sysconf(SysconfVar::CLK_TCK)?.and_then(|ticks| u64::try_from(ticks).ok());
    Ok(Duration::from_millis(ticks * 1000 / per_second.ok_or("no ticks")?.max(1)))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn what_a_thread_used_counts_after_it_has_ended() {
        let me = i32::try_from(std::process::id()).unwrap();
        let before = used(&[me]).unwrap();
        let busy = || {
            let begin = Instant::now();
            while begin.elapsed() < Duration::from_millis(50) {
                std::hint::black_box(begin);
            }
        };
        std::thread::spawn(busy).join().unwrap();
        assert!(used(&[me]).unwrap().saturating_sub(before) >= Duration::from_millis(10));
    }

    #[test]
    fn memory_that_is_written_to_is_anonymous() {
        let me = [i32::try_from(std::process::id()).unwrap()];
        let before = memory(&me).unwrap();
        let written = std::hint::black_box(vec![1_u8; 64 << 20]);
        let after = memory(&me).unwrap();
        assert!(after.anonymous >= before.anonymous + written.len() as u64 / 2);
        assert!(after.resident >= after.anonymous);
    }

    #[test]
    fn a_child_is_of_the_family() {
        let mut child = std::process::Command::new("sleep").arg("20").spawn().unwrap();
        let me = i32::try_from(std::process::id()).unwrap();
        let family = family(me);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(family.contains(&me) && family.contains(&i32::try_from(child.id()).unwrap()));
    }
}
