//! The server that nginx asks with `auth_request`: one look-up in a hash map, and the header to send in the answer.

use std::{collections::HashMap, future::ready, net::SocketAddr, path::PathBuf, rc::Rc, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header::AUTHORIZATION};
use http_body_util::Empty;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::{Failure, serve::dealt, tell};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Where it listens
    #[arg(long)]
    listen: SocketAddr,
    /// File with the access tokens, one a line: line n (from 0) is person n's
    #[arg(long)]
    credentials: PathBuf,
    /// Threads
    #[arg(long, default_value_t = 1)]
    workers: usize,
}

/// What stands for whose third-party token.
pub(crate) type Known = HashMap<Vec<u8>, HeaderValue>;

/// The values of `Authorization` that are good, and what the backend gets instead.
pub(crate) fn known(credentials: &PathBuf) -> Result<Known, Failure> {
    let tokens = std::fs::read_to_string(credentials)?;
    let known = tokens.lines().enumerate().map(|(number, token)| {
        let theirs = HeaderValue::try_from(format!("Bearer {}", tell::third_party_token(number)))?;
        Ok((format!("Bearer {token}").into_bytes(), theirs))
    });
    known.collect()
}

/// What the connections of a worker share.
struct Shared {
    known: Arc<Known>,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    crate::clock::raise_open_files()?;
    let known = Arc::new(known(&options.credentials)?);
    dealt(&[options.listen], options.workers, move || Shared { known: Arc::clone(&known) }, connection)
}

async fn connection(shared: Rc<Shared>, stream: TcpStream) {
    let service = service_fn(move |request| ready(Ok::<_, Failure>(judge(&shared.known, &request))));
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

fn judge(known: &Known, request: &Request<Incoming>) -> Response<Empty<Bytes>> {
    let theirs = request.headers().get(AUTHORIZATION).and_then(|ours| known.get(ours.as_bytes()));
    let mut response = Response::new(Empty::new());
    match theirs {
        Some(theirs) => drop(response.headers_mut().insert("x-third-party", theirs.clone())),
        None => *response.status_mut() = StatusCode::UNAUTHORIZED,
    }
    response
}
