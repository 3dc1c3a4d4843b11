//! How we see a request that the operator's `doctor` sends to us through everything that stands in front.
//!
//! The operator asks for a nonce over the admin API, sends `GET /consent?mirror=<nonce>` to `public_url`, and asks over the
//! admin API again what arrived: from whom, under which name, with which headers of proxies. The public answer is one fixed
//! line with one worthless cookie, written as ours are, so that the caller sees what is left of its attributes. Whoever has
//! no nonce gets what they always got there. It is this path because every proxy has to let it through for people.
//!
//! A nonce works once and for a minute; there are few at a time, in memory only. Must never tell a stranger anything: what
//! was seen is told over the admin API, and holds addresses and yes or no, never a header as it came.

use std::{
    collections::VecDeque,
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header::SET_COOKIE};
use serde::Serialize;
use url::form_urlencoded;

use super::{
    reply::{self, Reply},
    visit::Visit,
};
use crate::{
    domain::{secret::Digest, time::Timestamp},
    flow::{
        fault::Fault,
        ports::{Clock, Entropy, random},
    },
};

/// Where it is on the public listener.
pub const PATH: &str = "/consent";
/// The parameter with the nonce.
pub const PARAMETER: &str = "mirror";
/// Nonces at the same time; one more pushes out the oldest.
const MOST: usize = 32;
/// How long a nonce works, and how long what was seen can be asked for.
const TTL: Duration = Duration::from_mins(1);

/// The nonces that were given out, and what came with them.
pub struct Mirror {
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    looks: Mutex<VecDeque<Look>>,
}

struct Look {
    nonce: Digest,
    until: Timestamp,
    seen: Option<Seen>,
}

/// What we saw of a request.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Seen {
    /// Whether it was sent to the name of `public_url`.
    pub host_is_ours: bool,
    /// The other end of the socket.
    pub peer: IpAddr,
    /// Its port.
    pub peer_port: u16,
    /// Whether that is one of `trusted_proxies`.
    pub peer_is_trusted: bool,
    /// How many addresses `X-Forwarded-For` names.
    pub forwarded_for: usize,
    /// What `X-Forwarded-Proto` says: `http`, `https` or `other`.
    pub forwarded_proto: Option<&'static str>,
    /// The address that the request counts against.
    pub counted: IpAddr,
}

/// It was never given out, or is over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct NoSuchNonce;

impl Mirror {
    pub(super) fn new(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Arc<Self> {
        Arc::new(Self { clock, entropy, looks: Mutex::default() })
    }

    /// The time by which nonces end.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A new nonce.
    pub(super) fn open(&self) -> Result<String, Fault> {
        let nonce = URL_SAFE_NO_PAD.encode(random::<18>(&*self.entropy)?);
        let now = self.clock.now();
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        looks.retain(|look| look.until > now);
        while looks.len() >= MOST {
            looks.pop_front();
        }
        looks.push_back(Look { nonce: Digest::of(&nonce), until: now.after(TTL), seen: None });
        Ok(nonce)
    }

    /// What came with this nonce, where anything did.
    pub(super) fn seen(&self, nonce: &str) -> Result<Option<Seen>, NoSuchNonce> {
        let (nonce, now) = (Digest::of(nonce), self.clock.now());
        let looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let look = looks.iter().find(|look| look.nonce == nonce && look.until > now);
        look.map(|look| look.seen.clone()).ok_or(NoSuchNonce)
    }

    /// Keeps what was seen, the first time. Whether there is such a nonce.
    fn take(&self, nonce: &str, seen: impl FnOnce() -> Seen) -> bool {
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        if looks.is_empty() {
            return false;
        }
        let (nonce, now) = (Digest::of(nonce), self.clock.now());
        let look = looks.iter_mut().find(|look| look.nonce == nonce && look.until > now);
        match look {
            Some(look) if look.seen.is_none() => {
                look.seen = Some(seen());
                true
            }
            _ => false,
        }
    }
}

impl fmt::Debug for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mirror(…)")
    }
}

/// The answer to whoever has a nonce; `None` to everybody else.
pub(super) fn answer(visit: &Visit<'_>) -> Option<Reply> {
    let nonce = nonce(&visit.head.uri)?;
    if !visit.site.mirror.take(&nonce, || look_at(visit, true)) {
        return None;
    }
    let mut reply = reply::text(StatusCode::OK, "seen\n");
    reply.headers_mut().append(SET_COOKIE, visit.site.jar.mirror());
    Some(reply)
}

/// Keeps that a request with a nonce came under a name that is not ours; it is refused all the same.
pub(super) fn note_foreign(visit: &Visit<'_>) {
    if visit.head.uri.path() == PATH
        && let Some(nonce) = nonce(&visit.head.uri)
    {
        visit.site.mirror.take(&nonce, || look_at(visit, false));
    }
}

fn nonce(uri: &Uri) -> Option<String> {
    let query = uri.query().filter(|query| query.starts_with(PARAMETER))?;
    let (name, value) = form_urlencoded::parse(query.as_bytes()).next()?;
    (name == PARAMETER && !value.is_empty()).then(|| value.into_owned())
}

fn look_at(visit: &Visit<'_>, host_is_ours: bool) -> Seen {
    let (peer, headers) = (visit.caller.peer, &visit.head.headers);
    Seen {
        host_is_ours,
        peer: peer.ip().to_canonical(),
        peer_port: peer.port(),
        peer_is_trusted: visit.site.trusts(peer),
        forwarded_for: addresses(headers),
        forwarded_proto: headers.get("x-forwarded-proto").map(scheme),
        counted: visit.address().ip(),
    }
}

fn addresses(headers: &HeaderMap) -> usize {
    let values = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter(|hop| !hop.trim().is_empty()).count()
}

fn scheme(value: &HeaderValue) -> &'static str {
    match value.to_str().unwrap_or_default().trim() {
        "http" => "http",
        "https" => "https",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::{SystemClock, SystemEntropy};

    fn seen() -> Seen {
        let peer = "127.0.0.1".parse().unwrap();
        Seen {
            host_is_ours: true,
            peer,
            peer_port: 1,
            peer_is_trusted: false,
            forwarded_for: 0,
            forwarded_proto: None,
            counted: peer,
        }
    }

    #[test]
    fn a_nonce_works_once_and_few_are_kept() {
        let mirror = Mirror::new(Arc::new(SystemClock), Arc::new(SystemEntropy));
        assert!(!mirror.take("guessed", seen));
        let nonce = mirror.open().unwrap();
        assert_eq!(mirror.seen(&nonce), Ok(None));
        assert!(!mirror.take("guessed", seen));
        assert!(mirror.take(&nonce, seen));
        assert!(!mirror.take(&nonce, seen), "twice");
        assert_eq!(mirror.seen(&nonce), Ok(Some(seen())));
        for _ in 0..MOST {
            mirror.open().unwrap();
        }
        assert_eq!(mirror.seen(&nonce), Err(NoSuchNonce));
        assert_eq!(mirror.looks.lock().unwrap().len(), MOST);
    }

    #[test]
    fn only_the_first_parameter_is_a_nonce() {
        let of = |uri: &str| nonce(&uri.parse().unwrap());
        assert_eq!(of("/consent?mirror=abc").as_deref(), Some("abc"));
        for uri in ["/consent", "/consent?mirror=", "/consent?mirrors=a", "/consent?a=b&mirror=abc"] {
            assert_eq!(of(uri), None, "{uri}");
        }
    }
}
