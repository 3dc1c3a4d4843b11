//! How the operator's commands reach the running gateway: over its socket, or over the admin listener with the token.
//!
//! Where the gateway is follows from its configuration, of which no more is read than that: whoever asks need not have the
//! gateway's secrets. Each error says what was tried and what to do.

use std::{
    error::Error,
    fmt, io,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use url::Url;

use crate::{
    config::{self, Whereabouts},
    net::local,
};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an answer may take to begin. Ending what a popular app holds takes a while.
const ANSWER: Duration = Duration::from_mins(10);
/// The largest answer that is taken whole.
const LARGEST: usize = 64 * 1024 * 1024;

/// Where the gateway is.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Where {
    /// Its configuration. Without it: ./proxy.toml, or environment variables where there is none
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Its socket, instead of the configured one
    #[arg(long, value_name = "PATH", conflicts_with = "url")]
    pub(super) socket: Option<PathBuf>,
    /// Its admin listener, such as `http://127.0.0.1:9090`, instead of the socket. The token is that of the configuration, or
    /// of the variable `MCP_DEPUTY_ADMIN_TOKEN`
    #[arg(long, value_name = "URL")]
    pub(super) url: Option<String>,
    /// A file with the token for --url
    #[arg(long, value_name = "FILE", requires = "url")]
    pub(super) token_file: Option<PathBuf>,
}

/// Why the gateway could not be asked, or what it answered instead.
#[derive(Debug)]
pub(super) enum Unreached {
    /// The command line or the configuration is wrong.
    Wrong(String),
    /// Everything else.
    Failed(String),
}

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wrong(sentence) | Self::Failed(sentence) => f.write_str(sentence),
        }
    }
}

impl Error for Unreached {}

impl Unreached {
    /// The same, with what it is about in front.
    pub(super) fn about(self, what: &str) -> Self {
        match self {
            Self::Wrong(sentence) => Self::Wrong(format!("{what}: {sentence}")),
            Self::Failed(sentence) => Self::Failed(format!("{what}: {sentence}")),
        }
    }

    /// The same, after what went wrong before.
    pub(super) fn after(self, before: Option<Self>) -> Self {
        match before {
            None => self,
            Some(before) => Self::Failed(format!("{before}; {self}")),
        }
    }
}

/// The way to a gateway.
#[derive(Clone, Debug)]
pub(super) struct Gateway {
    way: Way,
    token: Option<SecretString>,
}

#[derive(Clone, Debug)]
enum Way {
    Socket(PathBuf),
    /// Host and port.
    Listener(String),
}

impl Where {
    /// The way to the gateway's API.
    pub(super) fn gateway(&self) -> Result<Gateway, Unreached> {
        if let Some(path) = &self.socket {
            return Ok(Gateway { way: Way::Socket(path.clone()), token: None });
        }
        if let Some(url) = &self.url {
            let way = Way::Listener(authority(url)?);
            return Ok(Gateway { way, token: Some(self.token()?) });
        }
        let found = self.whereabouts()?;
        if let Some(path) = found.socket {
            return Ok(Gateway { way: Way::Socket(path), token: None });
        }
        let Some(token) = found.admin_token else {
            return Err(Unreached::Wrong(
                "this gateway has no admin socket (its store is in memory, or admin_socket is off), and no admin_token to \
                 be asked over admin_listen with: set one of them"
                    .to_owned(),
            ));
        };
        let way = Way::Listener(reachable(found.admin_listen));
        Ok(Gateway { way, token: Some(token) })
    }

    /// The way to its probes, which need no token.
    pub(super) fn probes(&self) -> Result<Gateway, Unreached> {
        if self.socket.is_some() {
            return self.gateway();
        }
        let way = match &self.url {
            Some(url) => Way::Listener(authority(url)?),
            None => Way::Listener(reachable(self.whereabouts()?.admin_listen)),
        };
        Ok(Gateway { way, token: None })
    }

    /// What the configuration says about where things are.
    pub(super) fn whereabouts(&self) -> Result<Whereabouts, Unreached> {
        config::locate(self.config.as_deref(), &|name| std::env::var(name).ok()).map_err(|error| {
            Unreached::Wrong(format!("{error}; or say where the gateway is: --socket, --url"))
        })
    }

    fn token(&self) -> Result<SecretString, Unreached> {
        if let Some(path) = &self.token_file {
            let text = std::fs::read_to_string(path)
                .map_err(|error| Unreached::Wrong(format!("{} cannot be read: {error}", path.display())))?;
            return Ok(SecretString::from(text.trim()));
        }
        let from_variable = std::env::var("MCP_DEPUTY_ADMIN_TOKEN").ok().filter(|token| !token.is_empty());
        if let Some(token) = from_variable {
            return Ok(token.into());
        }
        let from_file = self.whereabouts().ok().and_then(|found| found.admin_token);
        from_file.ok_or_else(|| {
            Unreached::Wrong(
                "--url needs the admin token: give --token-file, or set MCP_DEPUTY_ADMIN_TOKEN".to_owned(),
            )
        })
    }
}

/// An address at which a listener can be reached that may listen everywhere.
fn reachable(mut address: std::net::SocketAddr) -> String {
    if address.ip().is_unspecified() {
        match &mut address {
            std::net::SocketAddr::V4(address) => address.set_ip(std::net::Ipv4Addr::LOCALHOST),
            std::net::SocketAddr::V6(address) => address.set_ip(std::net::Ipv6Addr::LOCALHOST),
        }
    }
    address.to_string()
}

fn authority(url: &str) -> Result<String, Unreached> {
    let wrong = || {
        Unreached::Wrong("--url must be that of the admin listener, such as http://127.0.0.1:9090".to_owned())
    };
    let url = Url::parse(url).map_err(|_| wrong())?;
    let is_plain = url.scheme() == "http" && matches!(url.path(), "" | "/") && url.username().is_empty();
    let host = url.host_str().filter(|_| is_plain && url.query().is_none()).ok_or_else(wrong)?;
    Ok(format!("{host}:{}", url.port().unwrap_or(80)))
}

impl Gateway {
    /// Asks, and takes the answer whole: JSON, or what the gateway says is wrong.
    pub(super) async fn ask(&self, method: Method, path: &str) -> Result<Value, Unreached> {
        let answer = self.open(method, path).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LARGEST).collect().await;
        let body = body.map_err(|_| self.failed("broke off its answer"))?.to_bytes();
        let said = serde_json::from_slice::<Value>(&body).unwrap_or_default();
        if status.is_success() { Ok(said) } else { Err(refused(status, &said)) }
    }

    /// Asks, and gives the answer as it begins.
    pub(super) async fn open(&self, method: Method, path: &str) -> Result<Response<Incoming>, Unreached> {
        let stream: Box<dyn Stream> = match &self.way {
            Way::Socket(path) => {
                let stream = timeout(CONNECT, local::connect(path)).await;
                let stream = stream.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
                let stream = stream.map_err(|error| no_socket(path, &error))?;
                if let Some(user) = local::stranger(&stream, path).map_err(|error| no_socket(path, &error))? {
                    let shown = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                    return Err(Unreached::Failed(format!(
                        "on the socket {} a process of the user {user} answers, who is neither you nor root nor the owner of its \
                         folder: that is not the gateway. Set admin_socket to a path in a folder that nobody else may write to",
                        shown.display()
                    )));
                }
                Box::new(stream)
            }
            Way::Listener(authority) => {
                let stream = timeout(CONNECT, TcpStream::connect(authority)).await;
                let stream = stream.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
                let none = |error: io::Error| {
                    Unreached::Failed(format!(
                        "no gateway answers on {authority} ({error}): is it running, and is that its admin_listen?"
                    ))
                };
                Box::new(stream.map_err(none)?)
            }
        };
        let speaking = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = speaking.map_err(|_| self.failed("did not speak HTTP"))?;
        // What goes wrong with it is told to whoever waits for an answer.
        tokio::spawn(async move { connection.await.unwrap_or_default() });
        let host = match &self.way {
            Way::Socket(_) => "localhost",
            Way::Listener(authority) => authority,
        };
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, host);
        if let Some(token) = &self.token {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()))
                .map_err(|_| Unreached::Wrong("the admin token has characters that none has".to_owned()))?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|_| self.failed("cannot be asked this"))?;
        match timeout(ANSWER, sender.send_request(request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(self.failed("closed the connection without an answer")),
            Err(_) => Err(self.failed("did not answer in time")),
        }
    }

    fn failed(&self, what: &str) -> Unreached {
        let place = match &self.way {
            Way::Socket(path) => path.display().to_string(),
            Way::Listener(authority) => authority.clone(),
        };
        Unreached::Failed(format!("the gateway at {place} {what}"))
    }
}

/// Either way: one kind of connection, so that its code is there once.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

fn no_socket(path: &Path, error: &io::Error) -> Unreached {
    let shown = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let shown = shown.display();
    Unreached::Failed(match error.kind() {
        io::ErrorKind::PermissionDenied => {
            format!(
                "the socket {shown} is only for the user that runs the gateway: run this as that user, or as root"
            )
        }
        io::ErrorKind::NotFound => format!(
            "no gateway has its socket at {shown}: start it, or say where it is: --config FILE, --socket PATH, or --url URL \
             with the admin token"
        ),
        io::ErrorKind::ConnectionRefused => {
            format!("the gateway whose socket is {shown} does not run any more: start it again")
        }
        _ => format!("the socket {shown} cannot be used: {error}"),
    })
}

/// What the gateway says is wrong.
fn refused(status: StatusCode, said: &Value) -> Unreached {
    let message =
        said.get("message").and_then(Value::as_str).unwrap_or("it answered nothing that can be read");
    let candidates = said.get("candidates").and_then(Value::as_array).into_iter().flatten();
    let candidates: Vec<_> = candidates.filter_map(Value::as_str).map(super::table::word).collect();
    // Whoever listens where the gateway should be writes nothing to this terminal but letters.
    let mut sentence = super::table::plain(message.trim_end_matches('.'));
    if !candidates.is_empty() {
        sentence.push_str(": ");
        sentence.push_str(&candidates.join(", "));
    }
    if status == StatusCode::BAD_REQUEST { Unreached::Wrong(sentence) } else { Unreached::Failed(sentence) }
}
