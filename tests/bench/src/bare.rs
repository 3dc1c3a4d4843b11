//! What the tools give before anything of ours is added: a server connection and a client connection of hyper, and one
//! look-up in a hash map between them that swaps the token. Stock settings, connections to the backend kept per worker.

use std::{
    cell::RefCell,
    net::SocketAddr,
    path::PathBuf,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri, header::AUTHORIZATION};
use http_body::{Body, Frame, SizeHint};
use hyper::{
    body::Incoming,
    client::conn::http1::{SendRequest, handshake},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::{
    Failure,
    auth::{Known, known},
    serve::dealt,
};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Where it listens
    #[arg(long)]
    listen: SocketAddr,
    /// Where the backend is
    #[arg(long)]
    backend: SocketAddr,
    /// File with the access tokens, one a line: line n (from 0) is person n's
    #[arg(long)]
    credentials: PathBuf,
    /// Threads
    #[arg(long, default_value_t = 1)]
    workers: usize,
}

type Sender = SendRequest<Incoming>;

/// What the connections of a worker share.
struct Shared {
    backend: SocketAddr,
    tokens: Arc<Known>,
    idle: RefCell<Vec<Sender>>,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    crate::clock::raise_open_files()?;
    let (backend, tokens) = (options.backend, Arc::new(known(&options.credentials)?));
    let make = move || Shared { backend, tokens: Arc::clone(&tokens), idle: RefCell::default() };
    dealt(&[options.listen], options.workers, make, connection)
}

async fn connection(shared: Rc<Shared>, stream: TcpStream) {
    let service = service_fn(move |request| forward(Rc::clone(&shared), request));
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn forward(shared: Rc<Shared>, mut request: Request<Incoming>) -> Result<Response<Relayed>, Failure> {
    let token = request.headers().get(AUTHORIZATION);
    let Some(theirs) = token.and_then(|token| shared.tokens.get(token.as_bytes())).cloned() else {
        let mut response = Response::new(Relayed::default());
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        return Ok(response);
    };
    request.headers_mut().insert(AUTHORIZATION, theirs);
    *request.uri_mut() = Uri::from_static("/mcp");
    let mut sender = sender(&shared).await?;
    let response = sender.send_request(request).await?;
    Ok(response.map(|body| Relayed { body: Some(body), sender: Some(sender), shared: Some(shared) }))
}

async fn sender(shared: &Shared) -> Result<Sender, Failure> {
    loop {
        let idle = shared.idle.borrow_mut().pop();
        let Some(mut sender) = idle else { break };
        if sender.ready().await.is_ok() {
            return Ok(sender);
        }
    }
    let stream = TcpStream::connect(shared.backend).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::task::spawn_local(connection);
    Ok(sender)
}

/// The backend's body; its connection is kept when it has ended.
#[derive(Default)]
struct Relayed {
    body: Option<Incoming>,
    sender: Option<Sender>,
    shared: Option<Rc<Shared>>,
}

impl Relayed {
    fn keep(&mut self) {
        if let (Some(sender), Some(shared)) = (self.sender.take(), self.shared.take()) {
            shared.idle.borrow_mut().push(sender);
        }
    }
}

impl Body for Relayed {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = std::task::ready!(Pin::new(&mut *body).poll_frame(context));
        // With a length known, hyper does not ask again after the last byte.
        if frame.is_none() || body.is_end_stream() {
            self.keep();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
