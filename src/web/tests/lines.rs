//! What strangers can make the log say.

use std::{
    io::{self, Write},
    sync::Mutex,
};

use super::*;
use crate::observe::log::{Form, subscriber};

/// Where the log is written in these tests.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Write::write(&mut *self.0.lock().unwrap(), bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Paper {
    /// What was written since the last look.
    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap();
        text.lines().map(ToOwned::to_owned).collect()
    }
}

#[tokio::test]
async fn a_stranger_does_not_fill_the_log() {
    let paper = Paper::default();
    let pen = paper.clone();
    let _guard = tracing::subscriber::set_default(subscriber(None, Form::Json, move || pen.clone()).unwrap());
    let gateway = Gateway::new();
    let foreign = [("origin", "https://evil.example")];
    let mut answered = 0;
    for (method, uri, headers, status) in [
        (Method::GET, "/nothing", &[][..], 404),
        (Method::PUT, "/token", &[], 405),
        (Method::GET, "/", &[("host", "evil.example")], 421),
        (Method::POST, "/mcp", &foreign, 403),
        (Method::POST, "/mcp", &[], 401),
        (Method::OPTIONS, "/nothing", &[], 404),
        (Method::GET, "/", &[], 200),
    ] {
        for _ in 0..100 {
            let reply = gateway.send(method.clone(), uri, headers, "").await;
            assert_eq!(reply.status().as_u16(), status, "{method} {uri}");
            answered += 1;
        }
    }
    let lines = paper.lines().len();
    assert!((100..=120).contains(&lines), "{lines} lines for {answered} requests");
    // What somebody does who is let in stands there as before.
    gateway.tokens().await;
    assert!(paper.lines().iter().any(|line| line.contains("\"/token\"") && line.contains("answered")));
}
