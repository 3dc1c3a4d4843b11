//! Outgoing HTTP of the sandbox's actors: to loopback, bounded in time and size, never following a redirect. TLS only to
//! those whose certificate it was told of.
//!
//! The gateway's own client judges every address; this one must not be used by it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};

/// How much of an answer is read.
const BODY_LIMIT: usize = 4 * 1024 * 1024;

/// A small HTTP client. Clones share their connections.
#[derive(Clone, Debug)]
pub struct Fetch {
    client: Client<HttpConnector, Full<Bytes>>,
    tls: Option<Client<HttpsConnector<HttpConnector>, Full<Bytes>>>,
    timeout: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The body broke off or is larger than 4 MiB.
    #[error("the answer's body could not be read")]
    Body,
    /// Nobody listens, or the connection broke.
    #[error("no answer")]
    Connection(#[source] hyper_util::client::legacy::Error),
    /// The request could not be built.
    #[error("not a usable request")]
    Request(#[from] http::Error),
    /// Too slow.
    #[error("no answer in time")]
    Timeout,
}

impl Fetch {
    /// A client that waits 30 seconds for a whole answer.
    pub fn new() -> Self {
        Self::with_timeout(Duration::from_secs(30))
    }

    /// A client that waits `timeout` for a whole answer.
    pub fn with_timeout(timeout: Duration) -> Self {
        Self { client: Client::builder(TokioExecutor::new()).build_http(), tls: None, timeout }
    }

    /// A client that also speaks TLS, to those whom `roots` vouch for.
    ///
    /// # Errors
    /// When the cryptography library lacks what TLS needs.
    pub fn trusting(roots: RootCertStore) -> Result<Self, rustls::Error> {
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_http1().build();
        Ok(Self { tls: Some(Client::builder(TokioExecutor::new()).build(connector)), ..Self::new() })
    }

    /// Sends a request and reads the whole answer.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, FetchError> {
        let exchange = async {
            let (parts, body) = self.open(request).await?.into_parts();
            let body = Limited::new(body, BODY_LIMIT).collect().await.map_err(|_| FetchError::Body)?;
            Ok(Response::from_parts(parts, body.to_bytes()))
        };
        tokio::time::timeout(self.timeout, exchange).await.map_err(|_| FetchError::Timeout)?
    }

    /// Sends a request and returns as soon as the headers are there; the body streams, without a time limit.
    pub async fn open(&self, request: Request<Bytes>) -> Result<Response<Incoming>, FetchError> {
        let request = request.map(Full::new);
        let answer = match (request.uri().scheme_str(), &self.tls) {
            (Some("https"), Some(tls)) => tls.request(request),
            _ => self.client.request(request),
        };
        answer.await.map_err(FetchError::Connection)
    }
}

impl Default for Fetch {
    fn default() -> Self {
        Self::new()
    }
}
