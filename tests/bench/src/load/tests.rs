//! The load generator against a real backend: what is right counts, and what is wrong makes a measurement void.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
    time::Duration,
};

use super::{Front, Kind, Measured, Options, requests};
use crate::{backend, tell};

/// A backend that runs until the tests end.
fn backend() -> SocketAddr {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let options = backend::Options { listen: vec![address], listen_http2: Vec::new(), workers: 1 };
    thread::spawn(move || backend::run(&options).map_err(|failure| failure.to_string()));
    while TcpStream::connect(address).is_err() {
        thread::sleep(Duration::from_millis(5));
    }
    address
}

/// Measures shortly; `credential` says what is sent for a person.
fn measured(target: SocketAddr, kind: Kind, credential: impl Fn(usize) -> String) -> Measured {
    static FILES: AtomicUsize = AtomicUsize::new(0);
    let name = format!("mcp-deputy-bench-{}-{}", std::process::id(), FILES.fetch_add(1, Relaxed));
    let credentials: PathBuf = std::env::temp_dir().join(name);
    let lines: Vec<_> = (0..8).map(credential).collect();
    std::fs::write(&credentials, lines.join("\n")).unwrap();
    let options = Options {
        kind,
        target,
        credentials: credentials.clone(),
        connections: 2,
        threads: 1,
        seconds: 0.2,
        once: false,
        front: Front::Plain,
        certificate: None,
        ring: None,
        after: 0.0,
        watch: Vec::new(),
        beside: Vec::new(),
    };
    let measured = requests::measure(&options).unwrap();
    std::fs::remove_file(credentials).unwrap();
    measured
}

#[test]
fn answers_for_the_right_people_count() {
    let backend = backend();
    for kind in [Kind::Json, Kind::Big, Kind::Burst, Kind::Handshake] {
        // Without TLS there is no handshake to judge, so that kind is wrong here.
        let measured = measured(backend, kind, tell::third_party_token);
        let is_void = kind == Kind::Handshake;
        assert_eq!(measured.wrong.is_some(), is_void, "{kind:?}: {:?}", measured.wrong);
        assert!(is_void || (measured.count > 0 && measured.own_processor > 0.0), "{kind:?}: {measured:?}");
    }
}

#[test]
fn an_answer_for_somebody_else_makes_it_void() {
    let measured = measured(backend(), Kind::Json, |person| tell::third_party_token(person + 1));
    assert_eq!(measured.wrong.as_deref(), Some("the answer is Some(1)'s and not 0's"));
}

#[test]
fn a_request_without_the_third_partys_token_makes_it_void() {
    let measured = measured(backend(), Kind::Json, |person| format!("mcpd_{person}"));
    assert_eq!(measured.wrong.as_deref(), Some("the answer is 401"));
}
