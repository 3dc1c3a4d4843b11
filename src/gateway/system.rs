//! The real clock and the real chance: the only places that ask the operating system for either.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::{
    domain::time::Timestamp,
    flow::{
        fault::Fault,
        ports::{Clock, Entropy},
    },
};

/// The clock of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.micros() / 1000)
    }

    fn micros(&self) -> u64 {
        let since = self.exactly();
        since.as_secs().saturating_mul(1_000_000).saturating_add(since.subsec_micros().into())
    }

    fn exactly(&self) -> Duration {
        #[expect(clippy::disallowed_methods, reason = "this is the clock that everybody else asks")]
        let now = SystemTime::now();
        now.duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}

/// The random generator of aws-lc, seeded by the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, out: &mut [u8]) -> Result<(), Fault> {
        #[expect(clippy::disallowed_methods, reason = "this is the source that everybody else asks")]
        aws_lc_rs::rand::fill(out).map_err(|_| Fault::new("draw random bytes"))
    }
}
