//! From exec to the first answers of the gateway's own binary, over the store of a folder: as the folder is (a process that
//! wrote all of it and was killed), after clean stops, and after a `kill -9` in the middle of writes.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use mcp_deputy::config::Settings;

use crate::{
    memory::{anonymous, mib, on_disk},
    world::{folder, settings},
};

/// How often each is measured; the table shows the median and the worst.
const ROUNDS: usize = 7;
/// Registrations, 16 at a time, before a process is killed.
const WRITES: usize = 2_000;
/// Tokens that are admitted before memory is read.
const TOKENS: usize = 5_000;

pub fn run(configuration: &Path, binary: &Path) {
    let settings = settings(configuration);
    let tokens = fs::read_to_string(configuration.with_file_name("tokens")).expect("`seed` wrote tokens");
    let tokens: Vec<&str> = tokens.lines().collect();
    let upstream = settings.servers[0].upstream_url.to_string();
    thread::spawn(move || serve_backend(&upstream));

    println!("the store takes {} on the disk", mib(on_disk(&folder(&settings))));
    println!("| after | first answer | first admitted request | worst of {ROUNDS} |");
    println!("| --- | ---: | ---: | ---: |");
    let gateway = Gateway { configuration, binary, settings: &settings };
    let (first, times) = gateway.start(&tokens);
    row("the process that wrote all of it, killed", &[times]);
    first.stop();
    let clean = [(); ROUNDS].map(|()| {
        let (running, times) = gateway.start(&tokens);
        running.stop();
        times
    });
    row("a clean stop", &clean);
    let killed = [(); ROUNDS].map(|()| {
        gateway.start(&tokens).0.kill_while_writing(&settings);
        let (running, times) = gateway.start(&tokens);
        running.kill();
        times
    });
    row("kill -9 while clients register", &killed);

    let (running, _) = gateway.start(&tokens);
    let at_rest = running.memory();
    let mut admitted = Connection::to(&settings);
    for token in tokens.iter().take(TOKENS) {
        assert_eq!(admitted.call(token), 200);
    }
    println!(
        "\nmemory at the start {at_rest} KiB, after {} distinct tokens {} KiB",
        tokens.len().min(TOKENS),
        running.memory()
    );
    drop(admitted);
    let begun = Instant::now();
    running.stop();
    println!("a clean stop took {:.0?}", begun.elapsed());
}

fn row(what: &str, times: &[[Duration; 2]]) {
    let column = |index: usize| {
        let mut column: Vec<Duration> = times.iter().map(|times| times[index]).collect();
        column.sort();
        column
    };
    let [answer, admitted] = [0, 1].map(column);
    println!(
        "| {what} | {:.0?} | {:.0?} | {:.0?} |",
        answer[answer.len() / 2],
        admitted[admitted.len() / 2],
        admitted[admitted.len() - 1]
    );
}

struct Gateway<'a> {
    configuration: &'a Path,
    binary: &'a Path,
    settings: &'a Settings,
}

impl Gateway<'_> {
    /// Starts it: the time from before exec to the metadata document, and to a request that reached the MCP server.
    fn start(&self, tokens: &[&str]) -> (Running, [Duration; 2]) {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let begun = Instant::now();
        let mut command = Command::new(self.binary);
        command.args(["serve", "--config"]).arg(self.configuration);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary runs");
        let mut connection = Connection::to(self.settings);
        assert_eq!(connection.get("/.well-known/oauth-authorization-server"), 200);
        let answer = begun.elapsed();
        // Another one each time, from anywhere in the store.
        let token = tokens[NEXT.fetch_add(1, Ordering::Relaxed) * 7919 % tokens.len()];
        assert_eq!(connection.call(token), 200);
        (Running(child), [answer, begun.elapsed()])
    }
}

struct Running(Child);

impl Running {
    fn memory(&self) -> u64 {
        anonymous(&self.0.id().to_string())
    }

    fn stop(mut self) {
        let id = self.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().expect("kill runs").success());
        assert!(self.0.wait().expect("it ends").success(), "it did not stop cleanly");
    }

    fn kill(mut self) {
        self.0.kill().expect("killed");
        self.0.wait().expect("it ends");
    }

    fn kill_while_writing(self, settings: &Settings) {
        let done = AtomicUsize::new(0);
        thread::scope(|scope| {
            for lane in 0..16 {
                let done = &done;
                scope.spawn(move || {
                    let mut connection = Connection::to(settings);
                    for number in 0.. {
                        let body = format!(
                            r#"{{"redirect_uris":["https://app.example/callback"],"token_endpoint_auth_method":"none","client_name":"App {lane} {number} {:?}"}}"#,
                            Instant::now()
                        );
                        // Whoever is killed answers nothing.
                        if connection.try_post("/register", &[("content-type", "application/json")], &body).is_err() {
                            return;
                        }
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            while done.load(Ordering::Relaxed) < WRITES {
                thread::sleep(Duration::from_millis(1));
            }
            self.kill();
        });
    }
}

/// A connection that is kept, and the little of HTTP/1.1 that is needed.
struct Connection {
    stream: TcpStream,
    host: String,
}

impl Connection {
    /// Tries until somebody listens.
    fn to(settings: &Settings) -> Self {
        let begun = Instant::now();
        loop {
            if let Ok(stream) = TcpStream::connect(settings.listen) {
                stream.set_nodelay(true).expect("a socket");
                return Self { stream, host: settings.listen.to_string() };
            }
            assert!(begun.elapsed() < Duration::from_secs(120), "nobody listens");
            thread::sleep(Duration::from_micros(500));
        }
    }

    fn get(&mut self, path: &str) -> u16 {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", self.host);
        self.exchange(&request).expect("an answer")
    }

    fn call(&mut self, token: &str) -> u16 {
        let bearer = format!("Bearer {token}");
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
        ];
        self.try_post("/mcp", &headers, r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).expect("an answer")
    }

    fn try_post(&mut self, path: &str, headers: &[(&str, &str)], body: &str) -> io::Result<u16> {
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let length = body.len();
        self.exchange(&format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\n{headers}content-length: {length}\r\n\r\n{body}",
            self.host
        ))
    }

    fn exchange(&mut self, request: &str) -> io::Result<u16> {
        self.stream.write_all(request.as_bytes())?;
        let head = head(&mut self.stream)?;
        let length = field(&head, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        self.stream.read_exact(&mut vec![0; length])?;
        Ok(head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0))
    }
}

fn head(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    String::from_utf8(head).map_err(io::Error::other)
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
}

/// An MCP server that answers everything with the same few bytes, and the third party's answer to whose a token is: the
/// gateway asks for that beside a request when what it knows of a person has become old.
fn serve_backend(url: &str) {
    let address = url.trim_start_matches("http://").split('/').next().expect("an address").to_owned();
    let listener = TcpListener::bind(address).expect("the port of the configuration is free");
    for stream in listener.incoming().flatten() {
        thread::spawn(move || answer_all(stream));
    }
}

fn answer_all(mut stream: TcpStream) {
    const RESULT: &str = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
    while let Ok(head) = head(&mut stream) {
        let length = field(&head, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        // The third party's token arrives, never ours.
        let token = field(&head, "authorization").unwrap_or_default();
        let status = if token.starts_with("Bearer gho_") { "200 OK" } else { "500 Wrong Token" };
        let body = if head.starts_with("GET /user") {
            let person = token.trim_start_matches("Bearer gho_").split('.').next().unwrap_or_default();
            let person = person.trim_start_matches('0');
            format!(r#"{{"id":"{person}","login":"person-{person}"}}"#)
        } else {
            RESULT.to_owned()
        };
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        if stream.read_exact(&mut vec![0; length]).and_then(|()| stream.write_all(answer.as_bytes())).is_err()
        {
            return;
        }
    }
}
