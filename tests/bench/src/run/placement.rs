//! Who runs on which processors: candidates on one half, backend and load generator on the other.

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

use crate::Failure;

/// The processors of this run.
pub(super) struct Placement {
    all: CpuSet,
    /// Those of candidates, and those of everybody else; `None`: nobody is pinned.
    halves: Option<(CpuSet, CpuSet)>,
    /// Workers of a candidate, and threads of the backend and of the load generator.
    pub(super) workers: usize,
}

/// Whose process is started.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Side {
    Candidate,
    Other,
}

impl Placement {
    pub(super) fn new(pin: bool) -> Result<Self, Failure> {
        let all = sched_getaffinity(Pid::from_raw(0))?;
        let mut processors = Vec::new();
        for processor in 0..CpuSet::count() {
            if all.is_set(processor)? {
                processors.push(processor);
            }
        }
        let half = processors.len() / 2;
        if !pin || half == 0 {
            return Ok(Self { all, halves: None, workers: processors.len() });
        }
        let (candidates, others) = processors.split_at(half);
        // With an odd number one processor stays free, so that both have as many.
        let halves = (set(candidates)?, set(&others[..half])?);
        let placement = Self { all, halves: Some(halves), workers: half };
        // Where the system does not allow it, this fails, and not in the middle.
        placement.on(Side::Candidate, || ())?;
        Ok(placement)
    }

    /// Does `start` in such a way that processes that it starts run on that side.
    pub(super) fn on<T>(&self, side: Side, start: impl FnOnce() -> T) -> Result<T, Failure> {
        let Some((candidates, others)) = &self.halves else { return Ok(start()) };
        let me = Pid::from_raw(0);
        // Children inherit it, and so do all their threads, from the first on.
        sched_setaffinity(me, if side == Side::Candidate { candidates } else { others })?;
        let started = start();
        sched_setaffinity(me, &self.all)?;
        Ok(started)
    }

    pub(super) fn told(&self) -> String {
        let workers = self.workers;
        match self.halves {
            Some(_) => format!(
                "candidates pinned to {workers} processor(s), backend and load generator to {workers} other(s)"
            ),
            None => format!("nobody pinned, {workers} worker(s) each"),
        }
    }
}

fn set(processors: &[usize]) -> Result<CpuSet, Failure> {
    let mut set = CpuSet::new();
    for &processor in processors {
        set.set(processor)?;
    }
    Ok(set)
}
