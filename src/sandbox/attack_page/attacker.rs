//! The attacker with a server of his own: what a real browser meets that follows his links.
//!
//! He registers a client at either proxy with a redirect URI here, and offers the links. Whatever arrives is redeemed at
//! once and shown to the person whose browser brought it: this is what he would have now. Unlike the scripted attack,
//! which uses a host that does not exist, everything here is real and on loopback.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use url::Url;

use super::{is_for, pages::Pages};
use crate::sandbox::{
    http::{Answer, Bound, Params, text},
    mcp_client::{ClientError, McpClient},
    replay::Target,
    stage::{Actors, PROFILE_SCOPE, REPOSITORIES_SCOPE, STATIC_CLIENT_ID, Stage},
    third_party::PEOPLE,
};

/// Where codes shall go.
const CALLBACK: &str = "/attacker/callback";
/// How many arrivals are remembered.
const KEPT: usize = 20;

/// Something that a browser brought.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Arrival {
    /// Through which proxy; `None` where the attacker's link was not followed.
    pub(super) target: Option<Target>,
    pub(super) what: Brought,
}

/// What it was.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Brought {
    /// A code, and who the attacker was after redeeming it.
    Code(Option<String>),
    /// An error of the authorization endpoint.
    Error(String),
    /// Neither.
    Nothing,
}

/// The attacker.
pub(super) struct Attacker {
    origin: String,
    /// The page that offers his links.
    offered_at: String,
    actors: Actors,
    pages: Pages,
    clients: tokio::sync::Mutex<Vec<(Target, McpClient)>>,
    arrivals: Mutex<Vec<Arrival>>,
}

impl Attacker {
    /// Serves his callback on `bound` until the stage is left. `offered_at`: the page that offers his links.
    pub(super) fn start(bound: Bound, stage: &Stage, pages: Pages, offered_at: String) -> Arc<Self> {
        let attacker = Arc::new(Self {
            origin: bound.origin(),
            offered_at,
            actors: stage.actors.clone(),
            pages,
            clients: tokio::sync::Mutex::default(),
            arrivals: Mutex::default(),
        });
        let handler = Arc::clone(&attacker);
        bound.serve(stage.stopping(), move |request| Arc::clone(&handler).route(request));
        attacker
    }

    /// Registers at both proxies. From now on the third party knows of everybody that they have agreed to the static
    /// client, as if each had connected an honest app before.
    pub(super) async fn prepare(&self) -> Result<(), ClientError> {
        for person in PEOPLE {
            let scopes = [PROFILE_SCOPE, REPOSITORIES_SCOPE];
            self.actors.third_party.remember_consent(person, STATIC_CLIENT_ID, &scopes);
        }
        let redirect_uri = format!("{}{CALLBACK}", self.origin);
        let mut clients = Vec::new();
        for target in [Target::Naive, Target::Deputy] {
            let (url, cast) = (target.mcp_url(&self.actors), self.actors.cast());
            let client = McpClient::connect("Attacker", "Claude", &url, &redirect_uri, &cast).await?;
            clients.push((target, client));
        }
        *self.clients.lock().await = clients;
        self.arrivals_mut().clear();
        Ok(())
    }

    /// His links, where he has registered.
    pub(super) async fn links(&self) -> Option<Vec<(Target, String)>> {
        let clients = self.clients.lock().await;
        let links = clients.iter().map(|(target, client)| (*target, client.authorization_url()));
        Some(links.collect::<Vec<_>>()).filter(|links| !links.is_empty())
    }

    /// What arrived so far.
    pub(super) fn arrivals(&self) -> Vec<Arrival> {
        self.arrivals_mut().clone()
    }

    async fn route(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        let is_callback = request.method() == Method::GET && request.uri().path() == CALLBACK;
        let arrived = Url::parse(&format!("{}{}", self.origin, request.uri())).ok();
        let Some(arrived) = arrived.filter(|_| is_callback && is_for(&self.origin, &request)) else {
            return Ok(text(StatusCode::NOT_FOUND, "not found"));
        };
        // To its end even if the browser goes away.
        let attacker = Arc::clone(&self);
        let received = tokio::spawn(async move { attacker.receive(&arrived).await });
        Ok(match received.await {
            Ok(arrival) => self.pages.arrival(&arrival, &self.offered_at),
            Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the attacker stumbled"),
        })
    }

    async fn receive(&self, arrived: &Url) -> Arrival {
        let answer = Params::parse(arrived.query().unwrap_or_default().as_bytes());
        let mut clients = self.clients.lock().await;
        let asked = clients.iter_mut().find(|(_, client)| answer.get("state") == Some(client.state()));
        let target = asked.as_ref().map(|(target, _)| *target);
        let what = match (answer.get("code"), answer.get("error"), asked) {
            (Some(_), _, Some((_, client))) => Brought::Code(match client.redeem(arrived).await {
                Ok(()) => client.whoami().await.ok(),
                Err(_) => None,
            }),
            (Some(_), _, None) => Brought::Code(None),
            (None, Some(error), _) => Brought::Error(error.chars().take(60).collect()),
            (None, None, _) => Brought::Nothing,
        };
        let arrival = Arrival { target, what };
        let mut arrivals = self.arrivals_mut();
        if arrivals.len() == KEPT {
            arrivals.remove(0);
        }
        arrivals.push(arrival.clone());
        arrival
    }

    fn arrivals_mut(&self) -> MutexGuard<'_, Vec<Arrival>> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
