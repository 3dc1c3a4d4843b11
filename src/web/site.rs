//! What all workers share: the flows, the pages, and what of the configuration matters to HTTP.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue};
use ipnet::IpNet;
use thiserror::Error;

use super::{
    address::Address,
    browser::Jar,
    limits::{Limits, Rates},
    metadata::{self, Metadata},
    mirror::Mirror,
    origin::AllowedOrigins,
    page::Pages,
    parameters::Parameters,
    read,
    share::Shares,
    streams::Streams,
    traffic::ServerTraffic,
};
use crate::{
    domain::{
        origin::{Origin, OriginError},
        post::SameOriginPost,
        refusal::Refusal,
    },
    flow::{
        DocumentsFrom, Flows, Management,
        ports::{Clock, Entropy},
    },
    observe::trace::Tracer,
    proxy::{Backend, Body, Route, held::Held},
};

/// What a site is made of.
pub struct SiteParts {
    /// The steps.
    pub flows: Arc<Flows>,
    /// What people see.
    pub pages: Pages,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Chance, for request ids.
    pub entropy: Arc<dyn Entropy>,
    /// Which pages may call the MCP server at each path.
    pub allowed_origins: BTreeMap<String, AllowedOrigins>,
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How long the body of a request to one of our own endpoints may take.
    pub body_timeout: Duration,
    /// What one address may cost.
    pub rates: Rates,
    /// Event streams that may be open at the same time.
    pub max_streams: usize,
    /// The largest body of a request to an MCP server, in bytes.
    pub max_body: u64,
    /// Requests of one person to MCP servers that may be answered at the same time, open streams included.
    pub max_requests_per_person: u32,
    /// What requests are followed with.
    pub tracer: Tracer,
}

/// What all workers share.
pub struct Site {
    pub(super) flows: Arc<Flows>,
    pub(super) pages: Pages,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) public_url: Origin,
    pub(super) jar: Jar,
    pub(super) metadata: Metadata,
    pub(super) doors: BTreeMap<String, Door>,
    /// What of requests is held in memory.
    pub(super) held: Arc<Held>,
    pub(super) limits: Arc<Limits>,
    /// Places for answers that are event streams.
    pub(super) streams: Streams,
    /// Requests to MCP servers that are being answered, by person and by grant.
    pub(super) shares: Arc<Shares>,
    pub(super) max_requests_per_person: u32,
    /// What the operator sends through everything in front of us.
    pub(super) mirror: Arc<Mirror>,
    pub(super) tracer: Tracer,
    trusted_proxies: Vec<IpNet>,
    body_timeout: Duration,
    rates: Rates,
    max_body: u64,
}

/// What outlives a configuration.
struct Shared {
    limits: Arc<Limits>,
    held: Arc<Held>,
    streams: Streams,
    shares: Arc<Shares>,
    mirror: Arc<Mirror>,
}

/// What stands at the door of an MCP server.
#[derive(Clone, Debug)]
pub(super) struct Door {
    pub(super) origins: AllowedOrigins,
    /// The challenge to a request without a token (RFC 6750 section 3, RFC 9728 section 5.1).
    pub(super) challenge: HeaderValue,
    /// To one whose token is not good.
    pub(super) invalid_token: HeaderValue,
    /// To one that cannot be understood.
    pub(super) invalid_request: HeaderValue,
    /// Where the metadata of the resource stands, for challenges that depend on the request.
    pub(super) resource_metadata: String,
}

/// What one worker needs to forward to an MCP server.
#[derive(Debug)]
pub struct Mount {
    /// What is forwarded, and how.
    pub route: Route,
    /// Where to: this worker's own connections.
    pub backend: Backend,
    /// What this worker counts there.
    pub traffic: Arc<ServerTraffic>,
}

/// Why a site cannot be made: the configuration was not checked.
#[derive(Debug, Error)]
pub enum SiteError {
    /// A challenge does not fit into a header.
    #[error("a challenge is not a header value")]
    Challenge(#[from] http::header::InvalidHeaderValue),
    /// The metadata cannot be written.
    #[error("the metadata cannot be written")]
    Metadata(#[from] serde_json::Error),
    /// The public URL is no origin.
    #[error("the public URL is not an origin")]
    PublicUrl(#[from] OriginError),
}

impl Site {
    /// Puts a site together.
    pub fn new(parts: SiteParts) -> Result<Arc<Self>, SiteError> {
        let limits = Arc::new(Limits::new(parts.rates));
        let held = Held::for_bodies_of(parts.max_body);
        let streams = Streams::new(parts.max_streams);
        let mirror = Mirror::new(Arc::clone(&parts.clock), Arc::clone(&parts.entropy));
        Self::sharing(parts, Shared { limits, held, streams, shares: Shares::new(), mirror })
    }

    /// Puts a site together that takes the place of `before`: what people and addresses have open and have used up counts
    /// on, unless how much that may be has changed. The number of places for streams stays what it was.
    pub fn renewed(before: &Self, parts: SiteParts) -> Result<Arc<Self>, SiteError> {
        let limits = if parts.rates == before.rates {
            Arc::clone(&before.limits)
        } else {
            Arc::new(Limits::new(parts.rates))
        };
        let held = if parts.max_body == before.max_body {
            Arc::clone(&before.held)
        } else {
            Held::for_bodies_of(parts.max_body)
        };
        let (streams, shares) = (before.streams.clone(), Arc::clone(&before.shares));
        let mirror = Arc::clone(&before.mirror);
        Self::sharing(parts, Shared { limits, held, streams, shares, mirror })
    }

    fn sharing(parts: SiteParts, shared: Shared) -> Result<Arc<Self>, SiteError> {
        let SiteParts { flows, pages, clock, entropy, mut allowed_origins, trusted_proxies, .. } = parts;
        let catalog = flows.catalog();
        let public_url = Origin::parse(&catalog.public_url)?;
        let mut doors = BTreeMap::new();
        for server in catalog.servers.iter().filter(|server| server.is_behind_us()) {
            let address = metadata::address(catalog, server);
            let base =
                format!("Bearer resource_metadata=\"{address}\", scope=\"{}\"", server.default_scopes());
            let door = Door {
                origins: allowed_origins.remove(&server.path).unwrap_or_default(),
                invalid_token: HeaderValue::try_from(format!("{base}, error=\"invalid_token\""))?,
                invalid_request: HeaderValue::try_from(format!("{base}, error=\"invalid_request\""))?,
                challenge: HeaderValue::try_from(base)?,
                resource_metadata: address,
            };
            doors.insert(server.path.clone(), door);
        }
        Ok(Arc::new(Self {
            metadata: Metadata::new(
                catalog,
                flows.policy().dynamic_registration,
                flows.policy().documents != DocumentsFrom::Nowhere,
            )?,
            jar: Jar::new(&public_url),
            mirror: shared.mirror,
            tracer: parts.tracer,
            limits: shared.limits,
            shares: shared.shares,
            rates: parts.rates,
            max_body: parts.max_body,
            max_requests_per_person: parts.max_requests_per_person,
            body_timeout: parts.body_timeout,
            held: shared.held,
            streams: shared.streams,
            flows,
            pages,
            clock,
            entropy,
            public_url,
            doors,
            trusted_proxies,
        }))
    }

    /// Whether registrations can be managed here (RFC 7592).
    pub(super) fn manages_registrations(&self) -> bool {
        self.flows.policy().registration.management != Management::Off
    }

    /// What the admin API tells of requests that its operator sent.
    pub fn mirror(&self) -> Arc<Mirror> {
        Arc::clone(&self.mirror)
    }

    /// Whether the other end of a socket is a proxy whose `X-Forwarded-For` is believed.
    pub(super) fn trusts(&self, peer: SocketAddr) -> bool {
        let peer = peer.ip().to_canonical();
        self.trusted_proxies.iter().any(|net| net.contains(&peer))
    }

    /// The address that a request counts against.
    pub(super) fn address(&self, peer: SocketAddr, headers: &HeaderMap) -> Address {
        Address::of(peer, headers, &self.trusted_proxies)
    }

    /// The parameters of a form.
    pub(super) async fn form(&self, headers: &HeaderMap, body: Body) -> Result<Parameters, Refusal> {
        Parameters::parse(&read::form(headers, body, self.body_timeout).await?)
    }

    /// The bytes of a JSON document.
    pub(super) async fn json(&self, headers: &HeaderMap, body: Body) -> Result<Vec<u8>, Refusal> {
        Ok(read::json(headers, body, self.body_timeout).await?.to_vec())
    }

    /// Judges where the POST of a page came from.
    pub(super) fn same_origin(&self, headers: &HeaderMap) -> Result<SameOriginPost, Refusal> {
        // A header that stands twice or cannot be read is none that a browser sent: it is judged as a foreign one.
        let only = |name: &str| {
            let mut values = headers.get_all(name).iter();
            let first = values.next()?;
            Some(if values.next().is_some() { "" } else { first.to_str().unwrap_or_default() })
        };
        SameOriginPost::judge(only("sec-fetch-site"), only("origin"), self.public_url.as_str())
    }
}
