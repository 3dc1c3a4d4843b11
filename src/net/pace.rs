//! How slow the other side may be.
//!
//! A deadline for a whole body would cut honest large ones, and a deadline for each pause is walked around by whoever
//! sends, or takes, one byte just before its end. So patience is spent and earned: each moment of waiting for the other
//! side spends some of it, each byte that moves earns a little back, never more than there was at first. Whoever goes on
//! at [`BYTES_PER_SECOND`] never runs out; whoever stops is given up after [`Pace::new`]'s patience, and whoever dribbles
//! little later. Time in which we ourselves, or the MCP server, are slow is not counted.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep};

/// A bad mobile connection is faster than this.
const BYTES_PER_SECOND: u64 = 2048;

/// Patience with one other side, for one direction.
#[derive(Debug)]
pub struct Pace {
    whole: Duration,
    left: Duration,
    waiting: Option<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    since: Instant,
    until: Pin<Box<Sleep>>,
}

impl Pace {
    /// With so much patience.
    pub fn new(patience: Duration) -> Self {
        Self { whole: patience, left: patience, waiting: None }
    }

    /// To be called whenever the other side keeps us waiting. Ready when patience is used up.
    pub fn waits(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let left = self.left;
        let begin = || Waiting { since: Instant::now(), until: Box::pin(sleep(left)) };
        self.waiting.get_or_insert_with(begin).until.as_mut().poll(context)
    }

    /// To be called when the other side does not keep us waiting (any more), with the bytes that it has moved.
    pub fn moves(&mut self, bytes: u64) {
        if let Some(waiting) = self.waiting.take() {
            self.left = self.left.saturating_sub(waiting.since.elapsed());
        }
        if self.left < self.whole {
            let earned = Duration::from_millis(bytes.saturating_mul(1000) / BYTES_PER_SECOND);
            self.left = self.left.saturating_add(earned).min(self.whole);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// Waits for `pause` between two pieces of this size; how many pieces there were before patience ran out.
    async fn pieces(pause: Duration, bytes: u64, most: u32) -> u32 {
        let mut pace = Pace::new(PATIENCE);
        for piece in 0..most {
            if timeout(pause, poll_fn(|context| pace.waits(context))).await.is_ok() {
                return piece;
            }
            pace.moves(bytes);
        }
        most
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_on_is_waited_for_and_who_dribbles_is_not() {
        assert_eq!(pieces(Duration::from_secs(29), 29 * 2048, 1000).await, 1000, "slow and steady");
        assert_eq!(pieces(Duration::from_secs(20), 1, 1000).await, 1, "a byte before each deadline");
        assert_eq!(pieces(Duration::from_secs(1), 1, 1000).await, 29, "a byte a second");
        assert_eq!(pieces(Duration::from_secs(31), 1 << 30, 1000).await, 0, "a single pause");
    }
}
