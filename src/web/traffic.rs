//! What a worker counts of the requests that it answers, for `/metrics`: at each MCP server how many with which outcome and
//! how long they took, and the same at our own endpoints.
//!
//! **Free on the way of a request.** A mount holds the numbers of its MCP server, so nothing is looked up; they belong to one
//! worker and are written by its thread alone, so nothing is locked (`flow::count`). An [`Outcome`] is a word of ours from
//! a fixed list, never anything of a request.
//!
//! [`Traffic`] outlives configurations: a server that is configured anew goes on counting where it was.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::StatusCode;

use crate::flow::count::{Count, Measured, SLOW, SessionTally, Spread};

macro_rules! outcomes {
    ($($(#[doc = $doc:literal])+ $name:ident = $slug:literal $class:literal),* $(,)?) => {
        /// What became of a request to an MCP server, other than an answer of that server.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum Outcome {
            /// The MCP server answered, and that was passed on.
            Answered,
            $($(#[doc = $doc])+ $name),*
        }

        impl Outcome {
            /// All but [`Outcome::Answered`].
            pub const REFUSED: &'static [Self] = &[$(Self::$name),*];

            /// Its name, and the class of the status that goes with it.
            pub const fn names(self) -> (&'static str, &'static str) {
                match self {
                    Self::Answered => ("answered", "2xx"),
                    $(Self::$name => ($slug, $class)),*
                }
            }
        }
    };
}

outcomes! {
    /// The access token or its permission ended while the MCP server was working.
    AccessEnded = "access_token_ended" "4xx",
    /// The body did not come to its end, or is too large.
    BodyUnusable = "body_unusable" "4xx",
    /// The client went away before there was an answer.
    ClientGone = "client_gone" "none",
    /// Something inside failed.
    Failed = "gateway_failed" "5xx",
    /// A limit was hit.
    Limited = "limited" "4xx",
    /// Not POST, GET or DELETE.
    MethodRefused = "method_refused" "4xx",
    /// For another host, or with an address that is too long.
    NotForUs = "not_for_us" "4xx",
    /// A page of another origin that may not call here.
    OriginForeign = "origin_foreign" "4xx",
    /// The tool policy refused it.
    PolicyRefused = "policy_refused" "4xx",
    /// A browser asked whether it may ask.
    Preflight = "preflight" "2xx",
    /// The access token has not the scopes that are needed.
    ScopeMissing = "scope_missing" "4xx",
    /// The MCP server's connection broke.
    ServerBroke = "mcp_server_broke_off" "5xx",
    /// The MCP server took too long to be connected to.
    ServerConnectTimeout = "mcp_server_connect_timeout" "5xx",
    /// The MCP server answered with a redirect.
    ServerRedirected = "mcp_server_redirected" "5xx",
    /// The MCP server refused a third-party token that is good.
    ServerRefused = "mcp_server_refused" "5xx",
    /// The MCP server took too long to answer.
    ServerResponseTimeout = "mcp_server_response_timeout" "5xx",
    /// TLS to the MCP server failed.
    ServerTlsFailed = "mcp_server_tls_failed" "5xx",
    /// The MCP server answered what cannot be passed on.
    ServerUnreadable = "mcp_server_unreadable" "5xx",
    /// Nobody listens where the MCP server should be.
    ServerUnreachable = "mcp_server_unreachable" "5xx",
    /// The MCP session is unknown, or somebody else's.
    SessionUnknown = "session_unknown" "4xx",
    /// The third party ended the permission behind the token.
    ThirdPartyRefused = "third_party_refused" "4xx",
    /// The third party did not give a token that is needed.
    ThirdPartyUnavailable = "third_party_unavailable" "5xx",
    /// There is no access token.
    TokenAbsent = "token_absent" "4xx",
    /// The access token is not good here.
    TokenRefused = "token_refused" "4xx",
}

impl Outcome {
    /// What the data plane's reason for having no answer of the MCP server means.
    pub(super) fn of(reason: &str) -> Self {
        match reason {
            "body_too_large" | "client_body_broke_off" => Self::BodyUnusable,
            "mcp_server_broke_off" => Self::ServerBroke,
            "mcp_server_connect_timeout" => Self::ServerConnectTimeout,
            "mcp_server_redirected" => Self::ServerRedirected,
            "mcp_server_response_timeout" => Self::ServerResponseTimeout,
            "mcp_server_switched" | "tools_list_unreadable" => Self::ServerUnreadable,
            "mcp_server_tls_failed" => Self::ServerTlsFailed,
            "mcp_server_unreachable" => Self::ServerUnreachable,
            "method_not_allowed" => Self::MethodRefused,
            "session_unknown" => Self::SessionUnknown,
            _ => Self::Failed,
        }
    }

    /// Whether the MCP server had to do with it, so that how long it took says something about that server.
    const fn is_of_the_server(self) -> bool {
        matches!(
            self,
            Self::Answered
                | Self::ServerBroke
                | Self::ServerConnectTimeout
                | Self::ServerRedirected
                | Self::ServerRefused
                | Self::ServerResponseTimeout
                | Self::ServerTlsFailed
                | Self::ServerUnreachable
                | Self::ServerUnreadable
        )
    }
}

/// Classes of the status of an answer.
const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];
/// Outcomes that are no answers.
const REFUSALS: usize = Outcome::REFUSED.len();

fn of_class<T>(all: &[T; 4], status: StatusCode) -> &T {
    let [good, redirect, refused, failed] = all;
    match status.as_u16() {
        0..300 => good,
        300..400 => redirect,
        400..500 => refused,
        _ => failed,
    }
}

/// One worker's numbers of one MCP server. On cache lines of its own, so that workers do not disturb each other.
#[derive(Debug)]
#[repr(align(128))]
pub struct ServerTraffic {
    begun: Count,
    answered: [Count; 4],
    /// In the order of [`Outcome::REFUSED`].
    refused: [Count; REFUSALS],
    took: Spread,
    streams_begun: Count,
    streams_ended: Count,
}

impl Default for ServerTraffic {
    fn default() -> Self {
        Self {
            begun: Count::default(),
            answered: Default::default(),
            refused: std::array::from_fn(|_| Count::default()),
            took: Spread::new(SLOW),
            streams_begun: Count::default(),
            streams_ended: Count::default(),
        }
    }
}

impl ServerTraffic {
    /// A request begins. Where the guard is dropped and never told how it ended, the client went away.
    pub(super) fn begins(&self) -> Begun<'_> {
        self.begun.one_more();
        Begun { traffic: self, outcome: Outcome::ClientGone }
    }

    /// An answer turned out to be a stream.
    pub(super) fn stream_begins(&self) {
        self.streams_begun.one_more();
    }

    /// A stream has ended.
    pub(super) fn stream_ends(&self) {
        self.streams_ended.one_more();
    }

    fn refused(&self, outcome: Outcome) {
        // The order of the variants is that of the list; the first one stands for an answer.
        let counted = (outcome as usize).checked_sub(1).and_then(|at| self.refused.get(at));
        if let Some(counted) = counted {
            counted.one_more();
        }
    }
}

/// A request that was not answered yet.
#[derive(Debug)]
pub(super) struct Begun<'a> {
    traffic: &'a ServerTraffic,
    /// [`Outcome::Answered`] once it was counted.
    outcome: Outcome,
}

impl Begun<'_> {
    /// There is an answer: with this status, after so many microseconds.
    pub(super) fn ends(mut self, outcome: Outcome, status: StatusCode, micros: u64) {
        self.outcome = Outcome::Answered;
        if outcome == Outcome::Answered {
            of_class(&self.traffic.answered, status).one_more();
        } else {
            self.traffic.refused(outcome);
        }
        if outcome.is_of_the_server() {
            self.traffic.took.note(micros);
        }
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if self.outcome != Outcome::Answered {
            self.traffic.refused(self.outcome);
        }
    }
}

macro_rules! endpoints {
    ($($name:ident = $slug:literal),* $(,)?) => {
        /// One of our own endpoints.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub(super) enum Endpoint { $($name),* }

        /// Their names, in order.
        const ENDPOINTS: &[&str] = &[$($slug),*];
    };
}

endpoints! {
    Account = "account",
    Arrival = "arrival",
    Authorize = "authorize",
    Callback = "callback",
    Consent = "consent",
    Introspect = "introspect",
    Metadata = "metadata",
    Nothing = "nothing",
    Pages = "pages",
    Register = "register",
    Revoke = "revoke",
    Token = "token",
}

/// One worker's numbers of one endpoint.
#[derive(Debug)]
struct EndpointTraffic {
    answered: [Count; 4],
    took: Spread,
}

/// One worker's numbers.
#[derive(Debug)]
pub struct WorkerTraffic {
    endpoints: Vec<EndpointTraffic>,
    servers: Mutex<BTreeMap<String, Arc<ServerTraffic>>>,
    /// Of its sessions.
    pub sessions: Arc<SessionTally>,
}

impl Default for WorkerTraffic {
    fn default() -> Self {
        let endpoint = |_: &&str| EndpointTraffic { answered: Default::default(), took: Spread::new(SLOW) };
        Self {
            endpoints: ENDPOINTS.iter().map(endpoint).collect(),
            servers: Mutex::default(),
            sessions: Arc::default(),
        }
    }
}

impl WorkerTraffic {
    /// The numbers of the MCP server at this path.
    pub fn server(&self, path: &str) -> Arc<ServerTraffic> {
        Arc::clone(locked(&self.servers).entry(path.to_owned()).or_default())
    }

    /// One of our own endpoints gave this answer, after so many microseconds.
    pub(super) fn endpoint(&self, endpoint: Endpoint, status: StatusCode, micros: u64) {
        if let Some(traffic) = self.endpoints.get(endpoint as usize) {
            of_class(&traffic.answered, status).one_more();
            traffic.took.note(micros);
        }
    }
}

/// The numbers of all workers.
#[derive(Debug, Default)]
pub struct Traffic(Mutex<BTreeMap<usize, Arc<WorkerTraffic>>>);

/// What was counted at an MCP server.
#[derive(Debug)]
pub struct ServerCounts {
    /// Class of the status, outcome, how many.
    pub requests: Vec<(&'static str, &'static str, u64)>,
    /// How long those took that the MCP server had to do with.
    pub took: Measured,
    /// Requests without an answer yet.
    pub under_way: u64,
    /// Streams that began.
    pub streams_begun: u64,
    /// Of these, how many are open.
    pub streams_open: u64,
}

/// What was counted at one of our own endpoints.
#[derive(Debug)]
pub struct EndpointCounts {
    /// Class of the status, how many.
    pub requests: Vec<(&'static str, u64)>,
    /// How long they took.
    pub took: Measured,
}

impl Traffic {
    /// The numbers of a worker.
    pub fn worker(&self, index: usize) -> Arc<WorkerTraffic> {
        Arc::clone(locked(&self.0).entry(index).or_default())
    }

    /// At each MCP server that was ever configured, by path.
    pub fn servers(&self) -> BTreeMap<String, ServerCounts> {
        let mut servers: BTreeMap<String, Vec<Arc<ServerTraffic>>> = BTreeMap::new();
        for worker in locked(&self.0).values() {
            for (path, traffic) in locked(&worker.servers).iter() {
                servers.entry(path.clone()).or_default().push(Arc::clone(traffic));
            }
        }
        servers.into_iter().map(|(path, workers)| (path, ServerCounts::of(&workers))).collect()
    }

    /// At each of our own endpoints, by name.
    pub fn endpoints(&self) -> Vec<(&'static str, EndpointCounts)> {
        let workers: Vec<_> = locked(&self.0).values().cloned().collect();
        let counts = |(at, name): (usize, &&'static str)| {
            let traffics: Vec<_> = workers.iter().filter_map(|worker| worker.endpoints.get(at)).collect();
            let requests = CLASSES.iter().enumerate().map(|(class, name)| {
                let so_far =
                    |traffic: &&EndpointTraffic| traffic.answered.get(class).map_or(0, Count::so_far);
                (*name, traffics.iter().map(so_far).sum())
            });
            let nothing = Measured::nothing(SLOW);
            let took = traffics.iter().fold(nothing, |all, traffic| all.and(&traffic.took.so_far()));
            (*name, EndpointCounts { requests: requests.collect(), took })
        };
        ENDPOINTS.iter().enumerate().map(counts).collect()
    }

    /// How often sessions were found in memory, and how often not.
    pub fn sessions(&self) -> (u64, u64) {
        let workers = locked(&self.0);
        workers.values().fold((0, 0), |(hits, misses), worker| {
            (hits + worker.sessions.hits.so_far(), misses + worker.sessions.misses.so_far())
        })
    }
}

impl ServerCounts {
    fn of(workers: &[Arc<ServerTraffic>]) -> Self {
        let sum = |count: &dyn Fn(&ServerTraffic) -> u64| -> u64 {
            workers.iter().map(|worker| count(worker)).sum()
        };
        // What has ended is read before what has begun: else something could end twice as often as it began.
        let streams_ended = sum(&|worker| worker.streams_ended.so_far());
        let mut requests = Vec::with_capacity(CLASSES.len() + REFUSALS);
        for (at, class) in CLASSES.iter().enumerate() {
            let answered = sum(&|worker| worker.answered.get(at).map_or(0, Count::so_far));
            requests.push((*class, Outcome::Answered.names().0, answered));
        }
        for (at, outcome) in Outcome::REFUSED.iter().enumerate() {
            let (reason, class) = outcome.names();
            requests.push((class, reason, sum(&|worker| worker.refused.get(at).map_or(0, Count::so_far))));
        }
        let ended: u64 = requests.iter().map(|(.., count)| count).sum();
        let nothing = Measured::nothing(SLOW);
        let streams_begun = sum(&|worker| worker.streams_begun.so_far());
        Self {
            took: workers.iter().fold(nothing, |all, worker| all.and(&worker.took.so_far())),
            under_way: sum(&|worker| worker.begun.so_far()).saturating_sub(ended),
            streams_begun,
            streams_open: streams_begun.saturating_sub(streams_ended),
            requests,
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::net::{backend::BackendError, body::BodyError};

    fn count(counts: &ServerCounts, class: &str, reason: &str) -> u64 {
        counts.requests.iter().find(|one| (one.0, one.1) == (class, reason)).unwrap().2
    }

    #[test]
    fn workers_count_for_themselves_and_are_summed() {
        let traffic = Traffic::default();
        let [one, two] = [0, 1].map(|index| traffic.worker(index).server("/mcp"));
        one.begins().ends(Outcome::Answered, StatusCode::OK, 300);
        two.begins().ends(Outcome::Answered, StatusCode::NOT_FOUND, 7_000);
        two.begins().ends(Outcome::TokenRefused, StatusCode::UNAUTHORIZED, 0);
        drop(two.begins());
        let open = two.begins();
        one.stream_begins();
        two.stream_begins();
        two.stream_ends();
        let counts = &traffic.servers()["/mcp"];
        assert_eq!(count(counts, "2xx", "answered"), 1);
        assert_eq!(count(counts, "4xx", "answered"), 1);
        assert_eq!(count(counts, "4xx", "token_refused"), 1);
        assert_eq!(count(counts, "none", "client_gone"), 1);
        assert_eq!(counts.requests.iter().map(|one| one.2).sum::<u64>(), 4);
        assert_eq!(
            (counts.took.count(), counts.took.sum()),
            (2, 7_300),
            "a refusal says nothing about the server"
        );
        let fast = counts.took.up_to().find(|(bound, _)| *bound == 500);
        assert_eq!(fast, Some((500, 1)), "within a millisecond it is told apart");
        assert_eq!((counts.under_way, counts.streams_begun, counts.streams_open), (1, 2, 1));
        drop(open);
        assert_eq!(traffic.servers()["/mcp"].under_way, 0);
        assert!(Arc::ptr_eq(&one, &traffic.worker(0).server("/mcp")), "configured anew, it goes on");
    }

    #[test]
    fn outcomes_have_names_of_their_own_and_places_in_order() {
        let names: BTreeSet<_> = Outcome::REFUSED.iter().map(|outcome| outcome.names().0).collect();
        assert_eq!(names.len(), REFUSALS);
        let traffic = ServerTraffic::default();
        for (at, outcome) in Outcome::REFUSED.iter().enumerate() {
            traffic.begins().ends(*outcome, StatusCode::BAD_REQUEST, 1);
            assert_eq!(traffic.refused[at].so_far(), 1, "{outcome:?}");
        }
        assert!(traffic.answered.iter().all(|count| count.so_far() == 0));
    }

    #[test]
    fn every_way_not_to_reach_an_mcp_server_has_an_outcome() {
        for error in [
            BackendError::Broken,
            BackendError::Request(BodyError::Broken),
            BackendError::Slow,
            BackendError::TimedOut,
            BackendError::Tls,
            BackendError::Unreachable,
        ] {
            assert_ne!(Outcome::of(error.slug()), Outcome::Failed, "{error:?}");
        }
    }

    #[test]
    fn our_own_endpoints_are_counted_by_name() {
        let traffic = Traffic::default();
        traffic.worker(3).endpoint(Endpoint::Token, StatusCode::BAD_REQUEST, 12_345);
        let endpoints = traffic.endpoints();
        assert_eq!(endpoints.len(), ENDPOINTS.len());
        let (_, token) = endpoints.iter().find(|(name, _)| *name == "token").unwrap();
        assert_eq!(token.requests, [("2xx", 0), ("3xx", 0), ("4xx", 1), ("5xx", 0)]);
        assert_eq!(token.took.sum(), 12_345);
    }
}
