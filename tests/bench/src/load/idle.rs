//! Idle streams: what they cost in memory, how fast an event comes through one, and what is given back afterwards.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
    time::Duration,
};

use tokio::{
    runtime::Builder,
    task::LocalSet,
    time::{sleep, timeout},
};

use super::{
    Front, Measured, Options, Spread,
    door::Door,
    measured::Memory,
    streams::Events,
    wire::{self, Length, Wire},
};
use crate::{Failure, clock, tell};

/// How long nobody does anything before memory is looked at.
const SETTLE: Duration = Duration::from_secs(2);
/// How many streams come from one address, in a row: where few places are left, an address gets an eighth of them.
const PER_ADDRESS: usize = 4;
/// How many are opened at the same time.
const AT_ONCE: usize = 32;
/// How many events there are at least, one on each stream as often as that takes: a median of fewer changes from one round to the
/// next.
const EVENTS: usize = 5_000;
/// Longer than any event takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Opens the streams, rings on all of them, closes them, waits `options.after`. Says `closed` on a line of its own in between, so that others may
/// begin to measure something else.
pub(super) fn measure(options: &Options) -> Result<Measured, Failure> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, streams(options))
}

async fn streams(options: &Options) -> Result<Measured, Failure> {
    let credentials = fs::read_to_string(&options.credentials)?;
    let credentials: Vec<_> = credentials.lines().collect();
    let door = Door::new(options.target, Front::Plain, None, None)?;
    // What the first request makes, no stream makes again.
    let mut first = door.wire(None).await?;
    first.send(&wire::request(None, credentials[0])).await?;
    let Length::Known(size) = first.head().await? else { return Err("the answer has no length".into()) };
    first.take(size).await?;
    sleep(SETTLE).await;
    let before = clock::memory(&options.watch)?.anonymous;

    let requests: Vec<_> = credentials.iter().map(|credential| wire::listening(credential)).collect();
    let requests = Rc::new(requests);
    let lanes: Vec<_> = (0..AT_ONCE)
        .map(|lane| {
            let door = door.clone();
            let (requests, mine) = (Rc::clone(&requests), (lane..options.connections).step_by(AT_ONCE));
            tokio::task::spawn_local(async move {
                let mut wires = Vec::new();
                for index in mine {
                    wires.push(open(&door, index, &requests[index % requests.len()]).await?);
                }
                Ok::<_, Failure>(wires)
            })
        })
        .collect();
    let mut wires = Vec::new();
    for lane in lanes {
        wires.extend(lane.await??);
    }
    sleep(SETTLE).await;
    let open = clock::memory(&options.watch)?.anonymous;
    let used = clock::used(&options.watch)?;

    let bell = options.ring.ok_or("where is the bell?")?;
    let rounds = EVENTS.div_ceil(options.connections.max(1));
    let mut delays = Vec::new();
    for _ in 0..rounds {
        let listening: Vec<_> =
            wires.into_iter().map(|wire| tokio::task::spawn_local(timeout(PATIENCE, event(wire)))).collect();
        ring(bell, options.connections).await?;
        wires = Vec::new();
        for stream in listening {
            let (delay, wire) = stream.await?.map_err(|_| "an event never came")??;
            delays.push(delay);
            wires.push(wire);
        }
    }
    let used = clock::used(&options.watch)?.saturating_sub(used);
    drop(wires);
    drop(first);
    println!("closed");
    sleep(Duration::from_secs_f64(options.after)).await;
    let after = clock::memory(&options.watch)?.anonymous;
    Ok(Measured {
        count: options.connections as u64,
        processor: used.as_secs_f64() * 1e6 / rounds as f64,
        latency: Spread::of(delays),
        memory: Some(Memory { before, open, after }),
        ..Measured::default()
    })
}

/// A stream, from an address that is this one's and its neighbours'.
async fn open(door: &Door, index: usize, request: &[u8]) -> Result<Wire, Failure> {
    let number = u32::try_from(index / PER_ADDRESS)?;
    let from = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 1)) + number);
    let mut wire = door.wire(Some(from)).await?;
    wire.small();
    wire.send(request).await?;
    match wire.head().await? {
        Length::Chunked => Ok(wire),
        Length::Known(_) => Err("the stream has a length".into()),
    }
}

/// Waits for an event; how long it was on its way, in nanoseconds.
async fn event(mut wire: Wire) -> Result<(u64, Wire), Failure> {
    let (mut events, mut made) = (Events::default(), 0);
    while made == 0 {
        let size = wire.chunk().await?;
        events.read(wire.take(size).await?, |at| made = at)?;
        wire.line().await?;
    }
    Ok((clock::now().saturating_sub(made), wire))
}

/// Has the backend send an event on each stream, of which it must know `streams`.
async fn ring(backend: SocketAddr, streams: usize) -> Result<(), Failure> {
    let mut wire = Door::new(backend, Front::Plain, None, None)?.wire(None).await?;
    let request = format!("POST /ring HTTP/1.1\r\nhost: {}\r\ncontent-length: 0\r\n\r\n", tell::HOST);
    wire.send(request.as_bytes()).await?;
    let Length::Known(size) = wire.head().await? else { return Err("the answer has no length".into()) };
    let open: usize = std::str::from_utf8(wire.take(size).await?)?.parse()?;
    if open >= streams {
        Ok(())
    } else {
        Err(format!("{open} of {streams} streams reach the backend").into())
    }
}
