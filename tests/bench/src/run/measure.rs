//! One measurement of one candidate, and what happens when it is void.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{
    Options,
    candidate::{Peer, Running, Setting},
    people::People,
    placement::Side,
    scenario::Scenario,
    stage::Stage,
};
use crate::{
    Failure, clock,
    load::{Kind, Measured, Start, request},
};

/// How long the machine is left alone after a candidate was started.
const SETTLE: Duration = Duration::from_millis(200);

/// Measures once; where something is wrong, once more, and then it fails.
pub(super) fn twice(
    scenario: &Scenario,
    peer: &Peer,
    mut once: impl FnMut() -> Result<Measured, Failure>,
) -> Result<Measured, Failure> {
    let first = once()?;
    let Some(wrong) = &first.wrong else { return Ok(first) };
    eprint!(" ({} is void: {wrong}; again)", peer.name);
    let second = once()?;
    let Some(wrong) = &second.wrong else { return Ok(second) };
    Err(format!("{} of {} is void twice: {wrong}", scenario.name, peer.name).into())
}

/// A candidate that runs already, under load for a while.
pub(super) fn warm(
    scenario: &Scenario,
    candidate: &mut Running,
    stage: &Stage,
    people: &People,
    seconds: f64,
) -> Result<Measured, Failure> {
    candidate.forget_log();
    candidate.still_runs()?;
    let mut load = load(scenario, candidate, stage, people)?;
    load.args(["--seconds", &seconds.to_string(), "--connections", &scenario.connections.to_string()]);
    let output = stage.placement.on(Side::Other, || load.output())??;
    Ok(read(&output.stdout))
}

/// A candidate that has just started, every token once.
pub(super) fn cold(
    scenario: &Scenario,
    peer: &Peer,
    stage: &Stage,
    people: &People,
) -> Result<Measured, Failure> {
    let candidate = fresh(peer, Setting::Usual, stage, people)?;
    let mut load = load(scenario, &candidate, stage, people)?;
    load.args(["--once", "--connections", &scenario.connections.to_string()]);
    let output = stage.placement.on(Side::Other, || load.output())??;
    Ok(read(&output.stdout))
}

/// Idle streams through a candidate: its streams are closed already, and what it gives back is still to be seen.
pub(super) struct Idle {
    candidate: Running,
    load: Child,
    told: BufReader<std::process::ChildStdout>,
}

impl Idle {
    /// Until the streams are closed.
    pub(super) fn begin(
        scenario: &Scenario,
        peer: &Peer,
        stage: &Stage,
        people: &People,
        options: &Options,
    ) -> Result<Self, Failure> {
        let streams = stage.streams(scenario.connections, !peer.is_http2());
        let candidate = fresh(peer, Setting::Streams(streams), stage, people)?;
        let mut load = load(scenario, &candidate, stage, people)?;
        load.args(["--connections", &streams.to_string()]);
        let ring = if peer.is_direct() { candidate.address } else { stage.backend_of(0, false) };
        load.args(["--ring", &ring.to_string(), "--after", &options.after().to_string()]);
        load.stdout(Stdio::piped());
        let mut load = stage.placement.on(Side::Other, || load.spawn())??;
        let mut told = BufReader::new(load.stdout.take().ok_or("the load generator says nothing")?);
        let mut line = String::new();
        told.read_line(&mut line)?;
        if line.trim() == "closed" {
            return Ok(Self { candidate, load, told });
        }
        load.wait()?;
        Err(format!(
            "{} of {}: the load generator gave up\n{}",
            scenario.name,
            peer.name,
            candidate.last_words()
        )
        .into())
    }

    /// After a while.
    pub(super) fn end(mut self) -> Result<(Peer, Measured), Failure> {
        let mut rest = Vec::new();
        self.told.read_to_end(&mut rest)?;
        self.load.wait()?;
        Ok((self.candidate.peer.clone(), read(&rest)))
    }
}

/// From exec to the first answers, and what it is at rest.
pub(super) fn start(peer: &Peer, stage: &Stage, people: &People) -> Result<Measured, Failure> {
    let tokens = fs::read_to_string(people.tokens.file(peer.credentials()))?;
    let token = tokens.lines().next().ok_or("there is nobody")?;
    let (first, _) = timed(peer, stage, people, b"GET / HTTP/1.1\r\nhost: mcp.bench\r\n\r\n", b"HTTP/1.1 ")?;
    let (proxied, candidate) = timed(peer, stage, people, &request(None, token), b"HTTP/1.1 200 ")?;
    thread::sleep(Duration::from_secs(1));
    let memory = clock::memory(&candidate.processes())?;
    let binary = peer.program().map(fs::metadata).transpose()?.map(|file| file.len());
    let start = Start { first, proxied, resident: memory.resident, anonymous: memory.anonymous, binary };
    Ok(Measured { count: 1, start: Some(start), ..Measured::default() })
}

/// How long it takes from exec until `request` is answered with `wanted`, in microseconds.
fn timed(
    peer: &Peer,
    stage: &Stage,
    people: &People,
    request: &[u8],
    wanted: &[u8],
) -> Result<(f64, Running), Failure> {
    let place = format!("{}-fresh", peer.name);
    // What is prepared before, such as the copy of the store, is not its time.
    let mut candidate = Running::prepare(peer.clone(), Setting::Usual, &place, stage, people)?;
    let (address, begin) = (candidate.address, Instant::now());
    candidate.exec(stage)?;
    let answer = stage.placement.on(Side::Other, || {
        while begin.elapsed() < Duration::from_secs(20) {
            let Ok(mut stream) = TcpStream::connect(address) else {
                thread::sleep(Duration::from_micros(200));
                continue;
            };
            let mut answer = [0; 4096];
            stream.write_all(request)?;
            let read = stream.read(&mut answer)?;
            return Ok::<_, Failure>((begin.elapsed(), answer[..read].to_vec()));
        }
        Err("it does not start".into())
    })?;
    let (took, answer) =
        answer.map_err(|failure| format!("{}: {failure}\n{}", peer.name, candidate.last_words()))?;
    if !answer.starts_with(wanted) {
        return Err(format!("{} answers {}", peer.name, String::from_utf8_lossy(&answer)).into());
    }
    Ok((took.as_secs_f64() * 1e6, candidate))
}

fn fresh(peer: &Peer, setting: Setting, stage: &Stage, people: &People) -> Result<Running, Failure> {
    let candidate = Running::start(peer.clone(), setting, &format!("{}-fresh", peer.name), stage, people)?;
    thread::sleep(SETTLE);
    Ok(candidate)
}

fn load(
    scenario: &Scenario,
    candidate: &Running,
    stage: &Stage,
    people: &People,
) -> Result<Command, Failure> {
    let watched: Vec<_> = candidate.processes().iter().map(ToString::to_string).collect();
    let threads = if scenario.kind == Kind::Idle { 1 } else { stage.placement.workers };
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["load", "--target", &candidate.address.to_string()])
        .args(["--front", scenario.front.name(), "--certificate"])
        .arg(stage.certificates().join("certificate.pem"))
        .args(["--kind", scenario.kind.name()])
        .arg("--credentials")
        .arg(people.tokens.file(candidate.peer.credentials()))
        .args(["--threads", &threads.to_string()])
        .args(["--watch", &watched.join(",")])
        .args(["--beside", &stage.backend_process()])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    Ok(command)
}

/// What the load generator said; where that is nothing, it gave up.
fn read(told: &[u8]) -> Measured {
    serde_json::from_slice(told).unwrap_or_else(|_| Measured {
        wrong: Some("the load generator gave up".to_owned()),
        ..Measured::default()
    })
}
