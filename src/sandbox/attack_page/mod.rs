//! The attack page: the honest flow and the attack, for a person to look at.
//!
//! Three buttons play a story with scripted actors (see [`super::replay`]) and show it step by step; the attack can also
//! be walked with one's own browser, by a malicious link through either proxy (see [`attacker`]). The page runs no script
//! and loads nothing; its buttons are POSTs that only its own pages can send (the same rule as the gateway's), and it
//! answers under its own host name only. It shows no code, token or state.
//!
//! It lives on a loopback host of its own and sets no cookie. Opened by the `sandbox` command; never part of `serve`.

mod attacker;
mod pages;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::{Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;

use self::{attacker::Attacker, pages::Pages};
use super::{
    http::{Answer, Body, LoopbackHost, redirect, text},
    replay::{self, Facts, ReplayError, Target},
    stage::{Actors, Port, Stage, StageError, bind},
    story::Story,
};
use crate::domain::post::SameOriginPost;

/// How many stories are kept for their pages.
const KEPT: usize = 50;

/// The attack page, open until the stage is left.
#[derive(Debug)]
pub struct AttackPage {
    origin: String,
}

/// A story that was played.
#[derive(Clone, Debug)]
enum Played {
    Attack(Target, Story, Facts),
    Broken(String),
    Honest(Story),
}

struct Shared {
    origin: String,
    actors: Actors,
    attacker: Arc<Attacker>,
    pages: Pages,
    /// Stories by number, oldest first.
    played: Mutex<VecDeque<(u64, Arc<Played>)>>,
    /// One story at a time: what the third party sees during an attack shall be the attack's.
    playing: tokio::sync::Mutex<u64>,
}

impl AttackPage {
    /// Serves the page and the attacker's own server until the stage is left.
    pub async fn open(stage: &Stage, page: Port, attacker: Port) -> Result<Self, StageError> {
        let bound = bind("the attack page", &[LoopbackHost::ThirdIpv4, LoopbackHost::Ipv6], page).await?;
        // Of the loopback hosts, `[::1]`, `localhost` and `127.0.0.1` can be redirect URIs, and two of them are taken.
        let attackers = bind("the attacker", &[LoopbackHost::Ipv6], attacker).await?;
        let pages = Pages::new();
        let origin = bound.origin();
        let attacker = Attacker::start(attackers, stage, pages.clone(), format!("{origin}/yourself"));
        let shared = Arc::new(Shared {
            origin: origin.clone(),
            actors: stage.actors.clone(),
            attacker,
            pages,
            played: Mutex::default(),
            playing: tokio::sync::Mutex::new(0),
        });
        bound.serve(stage.stopping(), move |request| Arc::clone(&shared).route(request));
        Ok(Self { origin })
    }

    /// `http://host:port`
    pub fn origin(&self) -> &str {
        &self.origin
    }
}

impl Shared {
    async fn route(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        if !is_for(&self.origin, &request) {
            return Ok(text(StatusCode::MISDIRECTED_REQUEST, "This host name is not served here."));
        }
        if request.method() == Method::POST && !self.is_from_here(&request) {
            return Ok(text(StatusCode::FORBIDDEN, "This form was sent from another site."));
        }
        let path = request.uri().path().to_owned();
        Ok(match (request.method(), path.as_str()) {
            (&Method::GET, "/") => self.pages.front(&self.actors),
            (&Method::POST, "/play/honest") => self.play(None).await,
            (&Method::POST, "/play/naive") => self.play(Some(Target::Naive)).await,
            (&Method::POST, "/play/deputy") => self.play(Some(Target::Deputy)).await,
            (&Method::GET, "/yourself") => {
                let (links, arrivals) = (self.attacker.links().await, self.attacker.arrivals());
                self.pages.yourself(&self.actors, links.as_deref(), &arrivals)
            }
            (&Method::POST, "/yourself") => match self.attacker.prepare().await {
                Ok(()) => redirect(StatusCode::SEE_OTHER, "/yourself"),
                Err(error) => self.pages.broken(&told(&error.into())),
            },
            (&Method::GET, path) => self.show(path),
            _ => text(StatusCode::NOT_FOUND, "not found"),
        })
    }

    fn is_from_here(&self, request: &Request<Incoming>) -> bool {
        let field = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
        SameOriginPost::judge(field("sec-fetch-site"), field("origin"), &self.origin).is_ok()
    }

    /// Plays a story to its end, whether or not the browser waits for it, and leads to its page.
    async fn play(self: &Arc<Self>, attack: Option<Target>) -> Response<Body> {
        let shared = Arc::clone(self);
        let playing = tokio::spawn(async move {
            let mut number = shared.playing.lock().await;
            *number += 1;
            let played = match attack {
                None => replay::honest(&shared.actors).await.map(Played::Honest),
                Some(target) => replay::attack(&shared.actors, target)
                    .await
                    .map(|attack| Played::Attack(target, attack.story, attack.facts)),
            };
            let played = played.unwrap_or_else(|error| Played::Broken(told(&error)));
            let mut kept = shared.played();
            kept.push_back((*number, Arc::new(played)));
            if kept.len() > KEPT {
                kept.pop_front();
            }
            *number
        });
        match playing.await {
            Ok(number) => redirect(StatusCode::SEE_OTHER, &format!("/story/{number}")),
            Err(_) => self.pages.broken("the story ended in the middle"),
        }
    }

    fn show(&self, path: &str) -> Response<Body> {
        let number = path.strip_prefix("/story/").and_then(|number| number.parse::<u64>().ok());
        let found = number.and_then(|number| {
            self.played().iter().find(|(known, _)| *known == number).map(|(_, played)| Arc::clone(played))
        });
        match found.as_deref() {
            Some(Played::Attack(target, story, facts)) => self.pages.attack(*target, story, facts),
            Some(Played::Broken(why)) => self.pages.broken(why),
            Some(Played::Honest(story)) => self.pages.honest(story),
            None => text(StatusCode::NOT_FOUND, "not found"),
        }
    }

    fn played(&self) -> MutexGuard<'_, VecDeque<(u64, Arc<Played>)>> {
        self.played.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the request names `origin` as its host: a name that somebody points at loopback leads nowhere.
fn is_for<B>(origin: &str, request: &Request<B>) -> bool {
    let host = request.headers().get(header::HOST).and_then(|value| value.to_str().ok());
    let host = host.or_else(|| request.uri().authority().map(http::uri::Authority::as_str));
    host.is_some_and(|host| origin.strip_prefix("http://") == Some(host))
}

/// The error and its causes, in one line.
fn told(error: &ReplayError) -> String {
    let mut line = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    line
}

#[cfg(test)]
mod tests;
