//! Requests and whole answers, one after the other on each connection.

use std::{
    fs,
    rc::Rc,
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::{runtime::Builder, task::LocalSet, time::sleep};

use super::{
    Kind, Measured, Options, Spread, WARM,
    streams::listen,
    wire::{self, Length, Wire},
};
use crate::{Failure, clock, tell};

/// What all connections share.
pub(super) struct Common {
    pub(super) requests: Vec<Vec<u8>>,
    expected: Vec<u8>,
    /// Every token is used once, instead of over and over.
    once: bool,
    /// The next person.
    pub(super) next: AtomicUsize,
    pub(super) measuring: AtomicBool,
    pub(super) done: AtomicBool,
    kind: Kind,
    wrong: Mutex<Option<String>>,
    count: AtomicU64,
    latencies: Mutex<Vec<u64>>,
}

impl Common {
    /// What a connection has counted within the span.
    pub(super) fn add(&self, count: u64, latencies: &mut Vec<u64>) {
        self.count.fetch_add(count, Relaxed);
        self.latencies.lock().expect("nobody panicked").append(latencies);
    }
}

pub(super) fn measure(options: &Options) -> Result<Measured, Failure> {
    let credentials = fs::read_to_string(&options.credentials)?;
    let common = Arc::new(Common {
        requests: credentials
            .lines()
            .map(|credential| wire::request(options.kind.asked(), credential))
            .collect(),
        expected: if options.kind == Kind::Big {
            tell::big_answer(b"000000")
        } else {
            tell::answer(b"000000")
        },
        once: options.once,
        next: AtomicUsize::new(0),
        measuring: AtomicBool::new(options.once),
        done: AtomicBool::new(false),
        kind: options.kind,
        wrong: Mutex::default(),
        count: AtomicU64::new(0),
        latencies: Mutex::default(),
    });
    // Nobody asks before all connections stand and the clocks are read, and the threads end when all have answered.
    let (ready, go) =
        (Arc::new(Barrier::new(options.threads + 1)), Arc::new(Barrier::new(options.threads + 1)));
    let threads: Vec<_> = (0..options.threads)
        .map(|index| {
            let connections = (index..options.connections).step_by(options.threads).count();
            let (common, ready, go) = (Arc::clone(&common), Arc::clone(&ready), Arc::clone(&go));
            let target = options.target;
            thread::spawn(move || drive(&common, target, connections, (&ready, &go)))
        })
        .collect();
    ready.wait();
    let mut before = (clock::used(&options.watch)?, own()?, Instant::now());
    go.wait();
    if !options.once {
        warm_up(&common, options);
        before = (clock::used(&options.watch)?, own()?, Instant::now());
        common.measuring.store(true, Relaxed);
        thread::sleep(Duration::from_secs_f64(options.seconds));
        common.measuring.store(false, Relaxed);
    }
    let mut after = (clock::used(&options.watch)?, own()?, before.2.elapsed());
    common.done.store(true, Relaxed);
    for thread in threads {
        thread.join().map_err(|_| "a thread of the load generator ended")??;
    }
    if options.once {
        after = (clock::used(&options.watch)?, own()?, before.2.elapsed());
    }
    let latencies = std::mem::take(&mut *common.latencies.lock().expect("nobody panicked"));
    let mut wrong = common.wrong.lock().expect("nobody panicked").take();
    let count = common.count.load(Relaxed);
    if count == 0 {
        wrong.get_or_insert_with(|| "no answer at all".to_owned());
    }
    Ok(Measured {
        count,
        seconds: after.2.as_secs_f64(),
        processor: after.0.saturating_sub(before.0).as_secs_f64() * 1e6,
        own_processor: after.1.saturating_sub(before.1).as_secs_f64() * 1e6,
        latency: Spread::of(latencies),
        wrong,
        ..Measured::default()
    })
}

fn own() -> Result<Duration, Failure> {
    clock::used(&[i32::try_from(std::process::id())?])
}

/// Until every token was used (or every connection has its stream), and a while longer.
fn warm_up(common: &Common, options: &Options) {
    let begin = Instant::now();
    let first = if options.kind.is_stream() { options.connections } else { common.requests.len() };
    let is_warm = || begin.elapsed() >= WARM && common.next.load(Relaxed) >= first;
    while !is_warm() && common.wrong.lock().expect("nobody panicked").is_none() {
        thread::sleep(Duration::from_millis(10));
    }
}

/// One thread with its connections.
fn drive(
    common: &Arc<Common>,
    target: std::net::SocketAddr,
    connections: usize,
    (ready, go): (&Barrier, &Barrier),
) -> Result<(), Failure> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let mut wires = Vec::new();
        let mut failed = None;
        for _ in 0..connections {
            match Wire::open(target, None).await {
                Ok(wire) => wires.push(wire),
                Err(failure) => failed = Some(failure),
            }
        }
        ready.wait();
        go.wait();
        let common = Rc::new(Arc::clone(common));
        let loops: Vec<_> = wires
            .into_iter()
            .enumerate()
            .map(|(index, wire)| {
                let common = Rc::clone(&common);
                tokio::task::spawn_local(async move {
                    let ended = match common.kind {
                        Kind::Burst => listen(&common, wire, tell::BURST, false).await,
                        Kind::Paced => {
                            // Not all at the same moment, but one after the other within a pace.
                            sleep(tell::PACE.mul_f64(index as f64 / connections as f64)).await;
                            listen(&common, wire, tell::PACED, true).await
                        }
                        _ => ask(&common, wire).await,
                    };
                    if let Err(failure) = ended {
                        common.wrong.lock().expect("nobody panicked").get_or_insert(failure.to_string());
                    }
                })
            })
            .collect();
        for ended in loops {
            ended.await?;
        }
        failed.map_or(Ok(()), Err)
    })
}

/// One connection, until all is done.
async fn ask(common: &Common, mut wire: Wire) -> Result<(), Failure> {
    let mut latencies = Vec::new();
    while !common.done.load(Relaxed) || common.once {
        let turn = common.next.fetch_add(1, Relaxed);
        if common.once && turn >= common.requests.len() {
            break;
        }
        let person = turn % common.requests.len();
        let begin = Instant::now();
        wire.send(&common.requests[person]).await?;
        let Length::Known(size) = wire.head().await? else { return Err("the answer has no length".into()) };
        check(wire.take(size).await?, &common.expected, person)?;
        // Begun before and ended within counts, as begun within and ended after does not.
        if common.measuring.load(Relaxed) {
            latencies.push(u64::try_from(begin.elapsed().as_nanos())?);
        }
    }
    common.add(latencies.len() as u64, &mut latencies);
    Ok(())
}

/// Whether this is, byte for byte, the answer for this person.
fn check(body: &[u8], expected: &[u8], person: usize) -> Result<(), Failure> {
    let digits = tell::digits_at();
    let whose = body.get(digits.clone()).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    if whose != Some(person) {
        return Err(format!("the answer is {whose:?}'s and not {person}'s").into());
    }
    if body[..digits.start] != expected[..digits.start] || body[digits.end..] != expected[digits.end..] {
        return Err("the body is another one".into());
    }
    Ok(())
}
