//! Event streams: read to their end, every event in its order.

use std::sync::atomic::Ordering::Relaxed;

use super::{
    requests::Common,
    wire::{Length, Wire},
};
use crate::{
    Failure, clock,
    tell::{EVENT, read_event},
};

/// One connection with one stream after the other, each of `events` events, until all is done. With `delays`, how long each
/// event was on its way.
pub(super) async fn listen(
    common: &Common,
    mut wire: Wire,
    events: u64,
    delays: bool,
) -> Result<(), Failure> {
    let (mut count, mut latencies, mut events_read) = (0, Vec::new(), Events::default());
    while !common.done.load(Relaxed) {
        let person = common.next.fetch_add(1, Relaxed) % common.requests.len();
        wire.send(&common.requests[person]).await?;
        if wire.head().await? != Length::Chunked {
            return Err("the stream has a length".into());
        }
        events_read.expected = 0;
        loop {
            let size = wire.chunk().await?;
            if size == 0 {
                break;
            }
            let measuring = common.measuring.load(Relaxed);
            let now = if delays { clock::now() } else { 0 };
            let here = events_read.read(wire.take(size).await?, |at| {
                if delays && measuring {
                    latencies.push(now.saturating_sub(at));
                }
            })?;
            if measuring {
                count += here;
            }
            wire.line().await?;
        }
        if events_read.expected != events || !events_read.rest.is_empty() {
            return Err(format!("only {} of {events} events came", events_read.expected).into());
        }
    }
    common.add(count, &mut latencies);
    Ok(())
}

/// Events out of pieces that may begin and end anywhere.
#[derive(Default)]
pub(super) struct Events {
    /// The number of the next one.
    pub(super) expected: u64,
    /// The beginning of one whose end has not come.
    rest: Vec<u8>,
}

impl Events {
    /// Takes a piece; calls `each` with the moment at which an event was made. Returns how many there were.
    pub(super) fn read(&mut self, mut piece: &[u8], mut each: impl FnMut(u64)) -> Result<u64, Failure> {
        let before = self.expected;
        if !self.rest.is_empty() {
            let (missing, behind) = piece.split_at(piece.len().min(EVENT - self.rest.len()));
            self.rest.extend_from_slice(missing);
            piece = behind;
            if self.rest.len() < EVENT {
                return Ok(0);
            }
            let whole = std::mem::take(&mut self.rest);
            self.one(&whole, &mut each)?;
        }
        let mut events = piece.chunks_exact(EVENT);
        for event in &mut events {
            self.one(event, &mut each)?;
        }
        self.rest.extend_from_slice(events.remainder());
        Ok(self.expected - before)
    }

    fn one(&mut self, event: &[u8], each: &mut impl FnMut(u64)) -> Result<(), Failure> {
        match read_event(event) {
            Some((number, at)) if number == self.expected => {
                self.expected += 1;
                each(at);
                Ok(())
            }
            Some((number, _)) => Err(format!("event {number} came for {}", self.expected).into()),
            None => Err("this is no event".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tell::event;

    #[test]
    fn events_are_found_however_they_are_cut() {
        let text: String = (0..5).map(|number| event(number, 7)).collect();
        for size in [1, 7, EVENT - 1, EVENT, EVENT + 1, 1000] {
            let (mut events, mut made) = (Events::default(), Vec::new());
            let mut count = 0;
            for piece in text.as_bytes().chunks(size) {
                count += events.read(piece, |at| made.push(at)).unwrap();
            }
            assert_eq!((count, made, events.rest.len()), (5, vec![7; 5], 0), "in pieces of {size}");
        }
    }

    #[test]
    fn a_lost_event_is_noticed() {
        let text = event(0, 0) + &event(2, 0);
        assert!(Events::default().read(text.as_bytes(), |_| ()).is_err());
    }
}
