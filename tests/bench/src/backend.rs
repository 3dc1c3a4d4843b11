//! The MCP server behind all candidates, and the third party that goes with it: as little work per request as possible,
//! and no request answered that did not bring a third party's token.
//!
//! What it answers is said by the header `x-bench`: nothing for a small JSON answer, `big` for one of 1 MiB, `burst` for
//! an event stream as fast as it can, `paced` for one with an event every ten milliseconds, `idle` for one that stays
//! silent until `POST /ring` has it send one event on each. Every event is a frame of its own, as servers that write
//! one event after the other make them.

mod events;
mod third_party;

use std::{cell::RefCell, net::SocketAddr, rc::Rc, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header::AUTHORIZATION};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use self::events::{Bells, Payload, Turns};
use crate::{
    Failure,
    serve::{OnThisThread, dealt},
    tell,
};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Where it listens for HTTP/1.1
    #[arg(long, value_delimiter = ',')]
    pub(crate) listen: Vec<SocketAddr>,
    /// Where it listens for HTTP/2 with prior knowledge
    #[arg(long, value_delimiter = ',')]
    pub(crate) listen_http2: Vec<SocketAddr>,
    /// Threads
    #[arg(long, default_value_t = 1)]
    pub(crate) workers: usize,
}

/// What the connections of a worker share.
struct Shared {
    bells: Arc<Bells>,
    turns: Arc<Turns>,
    /// The big answer; only the digits of the person change.
    big: RefCell<Vec<u8>>,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    crate::clock::raise_open_files()?;
    let (bells, turns) = (Arc::new(Bells::default()), Arc::new(Turns::new()));
    if !options.listen_http2.is_empty() {
        let listen = options.listen_http2.clone();
        let (workers, make) = (options.workers, made(&bells, &turns));
        std::thread::spawn(move || {
            if let Err(failure) = dealt(&listen, workers, make, http2) {
                eprintln!("backend, HTTP/2: {failure}");
                std::process::exit(1);
            }
        });
    }
    dealt(&options.listen, options.workers, made(&bells, &turns), http1)
}

fn made(bells: &Arc<Bells>, turns: &Arc<Turns>) -> impl Fn() -> Shared + Clone + Send + 'static {
    let (bells, turns) = (Arc::clone(bells), Arc::clone(turns));
    move || Shared {
        bells: Arc::clone(&bells),
        turns: Arc::clone(&turns),
        big: RefCell::new(tell::big_answer(b"000000")),
    }
}

async fn http1(shared: Rc<Shared>, stream: TcpStream) {
    let service = service_fn(move |request| answer(Rc::clone(&shared), request));
    // Clients that go in the middle are none of its business.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn http2(shared: Rc<Shared>, stream: TcpStream) {
    let service = service_fn(move |request| answer(Rc::clone(&shared), request));
    let mut builder = hyper::server::conn::http2::Builder::new(OnThisThread);
    builder.max_concurrent_streams(1000);
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(shared: Rc<Shared>, request: Request<Incoming>) -> Result<Response<Payload>, Failure> {
    match request.uri().path() {
        "/mcp" => mcp(&shared, request).await,
        "/ring" => Ok(said("application/json", Payload::once(shared.bells.ring().to_string().into()))),
        path => {
            let path = path.to_owned();
            third_party::answer(&path, request).await
        }
    }
}

async fn mcp(shared: &Shared, request: Request<Incoming>) -> Result<Response<Payload>, Failure> {
    let (head, body) = request.into_parts();
    let mut tokens = head.headers.get_all(AUTHORIZATION).iter();
    let (token, second) = (tokens.next(), tokens.next());
    let Some(digits) = token.and_then(|token| tell::person_of(token.as_bytes())) else {
        return Ok(refused(StatusCode::UNAUTHORIZED));
    };
    if second.is_some() {
        return Ok(refused(StatusCode::BAD_REQUEST));
    }
    // What was sent must arrive whole.
    let sent = http_body_util::BodyExt::collect(body).await?.to_bytes();
    let whole = if head.method == Method::GET { sent.is_empty() } else { sent == tell::CALL };
    if !whole {
        return Ok(refused(StatusCode::UNPROCESSABLE_ENTITY));
    }
    let kind = head.headers.get(tell::KIND).map_or(&b""[..], |kind| kind.as_bytes());
    Ok(match kind {
        b"" => said("application/json", Payload::once(tell::answer(digits).into())),
        b"big" => {
            let mut big = shared.big.borrow_mut();
            big[tell::digits_at()].copy_from_slice(digits);
            said("application/json", Payload::once(Bytes::copy_from_slice(&big)))
        }
        b"burst" => streamed(Payload::burst()),
        b"paced" => streamed(Payload::paced(&shared.turns)),
        b"idle" => streamed(shared.bells.hang()),
        _ => refused(StatusCode::NOT_FOUND),
    })
}

fn said(kind: &'static str, payload: Payload) -> Response<Payload> {
    Response::builder().header("content-type", kind).body(payload).expect("its parts are valid")
}

/// As MCP servers answer that know proxies which would keep events back.
fn streamed(payload: Payload) -> Response<Payload> {
    let mut response = said("text/event-stream", payload);
    let headers = response.headers_mut();
    headers.insert("cache-control", HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

fn refused(status: StatusCode) -> Response<Payload> {
    let mut response = said("text/plain", Payload::once(Bytes::new()));
    *response.status_mut() = status;
    response
}
