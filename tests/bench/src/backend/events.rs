//! Bodies of answers: one piece, or events.

use std::{
    pin::Pin,
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::{Instant, Interval, MissedTickBehavior, interval, interval_at},
};

use crate::{Failure, clock, tell};

/// The body of an answer.
pub(super) enum Payload {
    Once(Option<Bytes>),
    /// Events as fast as they are taken, from this number on.
    Burst(u64),
    /// An event at each tick.
    Paced(Interval, u64),
    /// An event whenever somebody rings.
    Idle(UnboundedReceiver<Bytes>),
}

impl Payload {
    pub(super) fn once(bytes: Bytes) -> Self {
        Self::Once(Some(bytes))
    }

    pub(super) fn burst() -> Self {
        Self::Burst(0)
    }

    pub(super) fn paced(turns: &Turns) -> Self {
        let mut ticks = interval_at(turns.next(), tell::PACE);
        // Whoever comes late goes on as before. If everybody went on from there, streams that were late together would stay
        // together, and what is measured would be how long the longest pause of the machine was.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Self::Paced(ticks, 0)
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let bytes = match &mut *self {
            Self::Once(bytes) => bytes.take(),
            Self::Burst(tell::BURST) | Self::Paced(_, tell::PACED) => None,
            Self::Burst(number) => {
                *number += 1;
                Some(tell::event(*number - 1, 0).into())
            }
            Self::Paced(ticks, number) => {
                std::task::ready!(ticks.poll_tick(context));
                *number += 1;
                Some(tell::event(*number - 1, clock::now()).into())
            }
            Self::Idle(rings) => std::task::ready!(rings.poll_recv(context)),
        };
        Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Once(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Once(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            _ => SizeHint::default(),
        }
    }
}

/// When paced streams have their events: one after the other, each in a turn of its own, whatever the moment at which its
/// request came. So all candidates get the same events to pass on: one that takes up many requests at once is not
/// measured with many events at once for as long as those streams go on.
pub(super) struct Turns {
    since: Instant,
    taken: AtomicU32,
}

impl Turns {
    pub(super) fn new() -> Self {
        Self { since: Instant::now(), taken: AtomicU32::new(0) }
    }

    /// The next one's first event.
    fn next(&self) -> Instant {
        let turn =
            tell::PACE * (self.taken.fetch_add(1, Relaxed) % tell::PACED_AT_ONCE) / tell::PACED_AT_ONCE;
        let periods = self.since.elapsed().div_duration_f64(tell::PACE).ceil();
        self.since + tell::PACE.mul_f64(periods) + turn
    }
}

/// The idle streams that are open.
#[derive(Default)]
pub(super) struct Bells(Mutex<Vec<UnboundedSender<Bytes>>>);

impl Bells {
    /// One more.
    pub(super) fn hang(&self) -> Payload {
        let (bell, rings) = unbounded_channel();
        self.0.lock().expect("nobody panicked").push(bell);
        Payload::Idle(rings)
    }

    /// Sends one event on each, one every millisecond, so that no event waits for another. Returns how many are open.
    pub(super) fn ring(&self) -> usize {
        let mut bells = self.0.lock().expect("nobody panicked");
        bells.retain(|bell| !bell.is_closed());
        let open = bells.clone();
        let count = open.len();
        tokio::spawn(async move {
            let mut ticks = interval(Duration::from_millis(1));
            for bell in open {
                ticks.tick().await;
                // Who has gone in between misses nothing.
                let _ = bell.send(tell::event(0, clock::now()).into());
            }
        });
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_have_their_events_in_turn_whenever_they_were_asked_for() {
        let turns = Turns::new();
        let before = Instant::now();
        let firsts: Vec<_> = (0..tell::PACED_AT_ONCE).map(|_| turns.next()).collect();
        let mut phases: Vec<_> =
            firsts.iter().map(|first| (*first - turns.since).as_micros() % tell::PACE.as_micros()).collect();
        phases.sort_unstable();
        let step = (tell::PACE / tell::PACED_AT_ONCE).as_micros();
        let expected: Vec<_> = (0..u128::from(tell::PACED_AT_ONCE)).map(|turn| turn * step).collect();
        assert_eq!(phases, expected);
        let late = Instant::now() + 2 * tell::PACE;
        assert!(firsts.iter().all(|first| (before..=late).contains(first)));
    }
}
