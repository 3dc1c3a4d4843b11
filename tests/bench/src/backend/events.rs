//! Bodies of answers: one piece, or events.

use std::{
    pin::Pin,
    sync::Mutex,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::{Interval, MissedTickBehavior, interval},
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

    pub(super) fn paced() -> Self {
        let mut ticks = interval(tell::PACE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
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
