//! The real binary under limits of open files.

use std::{fs, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::support::process::World;

/// A world in which one address may have as many connections as there are: a proxy's.
async fn world(limits: &str) -> World {
    let world = World::new().await;
    let config = fs::read_to_string(world.config()).unwrap();
    let config = format!("trusted_proxies = [\"127.0.0.1\"]\n{config}{limits}");
    fs::write(world.config(), config).unwrap();
    world
}

/// A connection that was answered on, and stays open.
async fn answered(authority: &str) -> TcpStream {
    let mut stream = TcpStream::connect(authority).await.unwrap();
    let request =
        format!("GET /.well-known/oauth-authorization-server HTTP/1.1\r\nhost: {authority}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut begin = [0; 12];
    stream.read_exact(&mut begin).await.unwrap();
    assert_eq!(&begin, b"HTTP/1.1 200");
    stream
}

#[tokio::test]
async fn more_connections_are_served_than_the_soft_limit_of_open_files_allows() {
    let mut world = world("").await;
    let process = world.start_after("ulimit -Sn 256").await;
    let raised = &process.told("message", "the limit of open files")[0];
    assert_eq!(raised["before"], 256);
    let now = raised["now"].as_u64().unwrap();
    assert!(now >= 1000, "this machine's hard limit is too low for this test: {now}");
    // What the operator did not configure is derived without a word of warning.
    assert!(process.told("reason", "open_files").is_empty());
    let authority = world.origin.strip_prefix("http://").unwrap();
    let mut open = Vec::new();
    for number in 1..=300 {
        let answer = timeout(Duration::from_secs(5), answered(authority)).await;
        open.push(answer.unwrap_or_else(|_| panic!("connection {number} is not served")));
    }
}

#[tokio::test]
async fn what_open_files_do_not_suffice_for_is_lowered_and_said() {
    let mut world = world("max_connections = 5000\nmax_streams = 20\n").await;
    let process = world.start_after("ulimit -n 256").await;
    let warnings = process.told("reason", "open_files");
    let [warning] = warnings.as_slice() else { panic!("{warnings:?}") };
    assert_eq!(warning["level"], "WARN");
    assert_eq!(warning["key"], "max_connections");
    assert_eq!(warning["configured"], 5000);
    assert_eq!(warning["open_files"], 256);
    // A quarter is reserved, and 20 streams fit beside.
    assert_eq!(warning["lowered_to"], 172);
    assert!(warning["message"].as_str().unwrap().contains("LimitNOFILE"));

    // The cap is what was said: as many are served, one more waits.
    let authority = world.origin.strip_prefix("http://").unwrap();
    let mut open = Vec::new();
    while let Ok(stream) = timeout(Duration::from_secs(1), answered(authority)).await {
        open.push(stream);
    }
    assert_eq!(open.len(), 172);
    open.pop();
    timeout(Duration::from_secs(5), answered(authority)).await.expect("a place was given back");
}
