//! Requests and whole answers, one after the other on each connection.

use std::{
    fs,
    net::Ipv4Addr,
    rc::Rc,
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::{runtime::Builder, task::LocalSet};

use super::{
    Front, Kind, Measured, Options, Spread, WARM,
    door::{Door, Streams},
    streams::listen,
    wire::{self, Length, Wire},
};
use crate::{
    Failure,
    clock::{self, Machine},
    tell,
};

/// What all connections share.
pub(super) struct Common {
    pub(super) requests: Vec<Vec<u8>>,
    credentials: Vec<String>,
    expected: Vec<u8>,
    /// Every token is used once, instead of over and over.
    once: bool,
    /// The next person.
    pub(super) next: AtomicUsize,
    pub(super) measuring: AtomicBool,
    pub(super) done: AtomicBool,
    kind: Kind,
    front: Front,
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
    let credentials: Vec<_> = credentials.lines().map(str::to_owned).collect();
    let resumed = match options.kind {
        Kind::Handshake => Some(false),
        Kind::Resume => Some(true),
        _ => None,
    };
    let door = Door::new(options.target, options.front, options.certificate.as_deref(), resumed)?;
    let common = Arc::new(Common {
        requests: credentials
            .iter()
            .map(|credential| wire::request(options.kind.asked(), credential))
            .collect(),
        expected: if options.kind == Kind::Big {
            tell::big_answer(b"000000")
        } else {
            tell::answer(b"000000")
        },
        credentials,
        once: options.once,
        next: AtomicUsize::new(0),
        measuring: AtomicBool::new(options.once),
        done: AtomicBool::new(false),
        kind: options.kind,
        front: options.front,
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
            let door = door.clone();
            thread::spawn(move || drive(&common, &door, connections, (&ready, &go)))
        })
        .collect();
    ready.wait();
    let mut before = Clocks::read(options)?;
    go.wait();
    if !options.once {
        warm_up(&common, options);
        before = Clocks::read(options)?;
        common.measuring.store(true, Relaxed);
        thread::sleep(Duration::from_secs_f64(options.seconds));
        common.measuring.store(false, Relaxed);
    }
    let mut after = Clocks::read(options)?;
    common.done.store(true, Relaxed);
    for thread in threads {
        thread.join().map_err(|_| "a thread of the load generator ended")??;
    }
    if options.once {
        after = Clocks::read(options)?;
    }
    let latencies = std::mem::take(&mut *common.latencies.lock().expect("nobody panicked"));
    let mut wrong = common.wrong.lock().expect("nobody panicked").take();
    let count = common.count.load(Relaxed);
    if count == 0 {
        wrong.get_or_insert_with(|| "no answer at all".to_owned());
    }
    Ok(Measured { count, latency: Spread::of(latencies), wrong, ..after.since(&before) })
}

/// All clocks at a moment.
struct Clocks {
    candidate: Duration,
    own: Duration,
    beside: Duration,
    machine: Machine,
    at: Instant,
}

impl Clocks {
    fn read(options: &Options) -> Result<Self, Failure> {
        Ok(Self {
            candidate: clock::used(&options.watch)?,
            own: clock::used(&[i32::try_from(std::process::id())?])?,
            beside: clock::used(&options.beside)?,
            machine: clock::machine()?,
            at: Instant::now(),
        })
    }

    fn since(&self, before: &Self) -> Measured {
        let span = |clock: fn(&Self) -> Duration| clock(self).saturating_sub(clock(before)).as_secs_f64();
        let (candidate, own) = (span(|it| it.candidate), span(|it| it.own));
        let seconds = self.at.duration_since(before.at).as_secs_f64();
        let all = seconds * self.machine.processors as f64;
        let others = span(|it| it.machine.busy) - candidate - own - span(|it| it.beside);
        Measured {
            seconds,
            processor: candidate * 1e6,
            own_processor: own * 1e6,
            others: (others / all).max(0.0),
            stolen: span(|it| it.machine.stolen) / all,
            ..Measured::default()
        }
    }
}

/// Until every token was used (where that matters), and a while longer.
fn warm_up(common: &Common, options: &Options) {
    let begin = Instant::now();
    let first = if options.kind == Kind::Json { common.requests.len() } else { options.connections };
    let is_warm = || begin.elapsed() >= WARM && common.next.load(Relaxed) >= first;
    while !is_warm() && common.wrong.lock().expect("nobody panicked").is_none() {
        thread::sleep(Duration::from_millis(10));
    }
}

/// One thread with its connections.
fn drive(
    common: &Arc<Common>,
    door: &Door,
    connections: usize,
    (ready, go): (&Barrier, &Barrier),
) -> Result<(), Failure> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let opened = open(common, door, connections).await;
        ready.wait();
        go.wait();
        let common = Rc::new(Arc::clone(common));
        let loops: Vec<_> = opened?
            .into_iter()
            .map(|client| {
                let common = Rc::clone(&common);
                tokio::task::spawn_local(async move {
                    if let Err(failure) = client.go_on(&common).await {
                        common.wrong.lock().expect("nobody panicked").get_or_insert(failure.to_string());
                    }
                })
            })
            .collect();
        for ended in loops {
            ended.await?;
        }
        Ok(())
    })
}

/// One who asks, one time after the other.
enum Client {
    /// On a connection of its own.
    Kept(Wire),
    /// On streams of a connection.
    Streams(Streams),
    /// Each time on a new connection.
    Anew(Door),
}

async fn open(common: &Common, door: &Door, connections: usize) -> Result<Vec<Client>, Failure> {
    let mut clients = Vec::new();
    if common.front == Front::Http2 {
        let streams = door.http2().await?;
        clients.extend((0..connections).map(|_| Client::Streams(streams.clone())));
        return Ok(clients);
    }
    for _ in 0..connections {
        clients.push(match common.kind {
            Kind::Handshake | Kind::Resume => Client::Anew(door.anew()),
            _ => Client::Kept(door.wire(None).await?),
        });
    }
    Ok(clients)
}

impl Client {
    /// Until all is done.
    async fn go_on(self, common: &Common) -> Result<(), Failure> {
        match (self, common.kind) {
            (Self::Kept(wire), Kind::Burst) => listen(common, wire, tell::BURST, false).await,
            (Self::Kept(wire), Kind::Paced) => listen(common, wire, tell::PACED, true).await,
            (client, _) => client.ask(common).await,
        }
    }

    async fn ask(mut self, common: &Common) -> Result<(), Failure> {
        let mut latencies = Vec::new();
        while !common.done.load(Relaxed) || common.once {
            let turn = common.next.fetch_add(1, Relaxed);
            if common.once && turn >= common.requests.len() {
                break;
            }
            let begin = Instant::now();
            self.once(common, turn, turn % common.requests.len()).await?;
            // Begun before and ended within counts, as begun within and ended after does not.
            if common.measuring.load(Relaxed) {
                latencies.push(u64::try_from(begin.elapsed().as_nanos())?);
            }
        }
        common.add(latencies.len() as u64, &mut latencies);
        Ok(())
    }

    async fn once(&mut self, common: &Common, turn: usize, person: usize) -> Result<(), Failure> {
        match self {
            Self::Kept(wire) => exchange(common, wire, person).await,
            Self::Streams(streams) => {
                check(&streams.call(&common.credentials[person]).await?, &common.expected, person)
            }
            Self::Anew(door) => {
                // Ports of closed connections rest for a minute: one address has too few for that.
                let from =
                    Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 2, 0, 1)) + u32::try_from(turn % 4096)?);
                let mut wire = door.wire(Some(from)).await?;
                exchange(common, &mut wire, person).await?;
                // The first handshakes have nothing to resume.
                if common.measuring.load(Relaxed) { door.judge(&wire) } else { Ok(()) }
            }
        }
    }
}

async fn exchange(common: &Common, wire: &mut Wire, person: usize) -> Result<(), Failure> {
    wire.send(&common.requests[person]).await?;
    let Length::Known(size) = wire.head().await? else { return Err("the answer has no length".into()) };
    check(wire.take(size).await?, &common.expected, person)
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
