//! A request that may be followed, and the calls that are made for it.
//!
//! A span of a step begins unfollowed: only what the request brings tells whether it goes on with a journey. It is kept in
//! memory until the request is over, and sent if it was followed by then. [`Span`] is a handle, as cheap as a pointer; it
//! goes with the request into other tasks, and what they say when the request is over is not heard any more.

use std::{
    borrow::Cow,
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use http::HeaderMap;
use url::Url;

use super::{
    Step,
    context::{TRACEPARENT, TRACESTATE, TraceContext, hex},
    hub::Hub,
    journeys::Left,
    record::{Event, Finished, Kind, Parent, Value},
};
use crate::observe::request::hex_text;

/// How many events a span has at most.
const MOST_EVENTS: usize = 32;

/// Methods of MCP. Others are not named: whoever sends them could write anything.
const METHODS: &[&str] = &[
    "completion/complete",
    "elicitation/create",
    "initialize",
    "logging/setLevel",
    "notifications/cancelled",
    "notifications/initialized",
    "notifications/progress",
    "notifications/roots/list_changed",
    "ping",
    "prompts/get",
    "prompts/list",
    "resources/list",
    "resources/read",
    "resources/subscribe",
    "resources/templates/list",
    "resources/unsubscribe",
    "roots/list",
    "sampling/createMessage",
    "server/discover",
    "subscriptions/listen",
    "tasks/cancel",
    "tasks/get",
    "tasks/list",
    "tasks/result",
    "tools/call",
    "tools/list",
];

/// A request that may be followed; the default is none.
#[derive(Clone, Debug, Default)]
pub struct Span(Option<Arc<Live>>);

#[derive(Debug)]
struct Live {
    hub: Arc<Hub>,
    /// By the ratio.
    is_wanted: bool,
    /// Whether it was asked if it may be followed. That is asked once: what is over the bound is over it to the end.
    is_asked: AtomicBool,
    is_followed: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// What is known so far.
    span: Finished,
    /// Whether the trace is the client's, so that what it says beside it goes on with it.
    is_theirs: bool,
    is_over: bool,
}

impl PartialEq for Span {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        }
    }
}

impl Eq for Span {}

impl Live {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows it from now on, if that is allowed.
    fn follow(&self, has_access: bool) {
        if !self.is_asked.swap(true, Relaxed) && self.hub.may_follow(has_access) {
            self.is_followed.store(true, Relaxed);
        }
    }
}

impl Span {
    pub(super) fn begin(
        hub: &Arc<Hub>,
        step: Step,
        id: [u8; 6],
        method: &'static str,
        route: &str,
        is_wanted: bool,
    ) -> Self {
        let (Some(trace), Some(span)) = (hub.draw(), hub.draw()) else { return Self::default() };
        let step_name = match step {
            Step::Of(name) => name,
            Step::Operator => "operator_call",
            Step::Proxied | Step::Nothing => "mcp_request",
        };
        let mut attributes = vec![
            ("mcp_deputy.step", step_name.into()),
            ("http.request.method", if method == "other" { "_OTHER" } else { method }.into()),
            ("http.route", Value::Text(route.to_owned().into())),
        ];
        // An operator's call has none.
        if step != Step::Operator {
            attributes.push(("mcp_deputy.request_id", Value::Text(hex_text(id).into())));
        }
        let span = Finished {
            trace,
            id: span,
            parent: None,
            kind: Kind::Served,
            name: Cow::Owned(format!("{method} {route}")),
            begun: hub.now(),
            ended: Duration::ZERO,
            attributes,
            events: Vec::new(),
            failed: false,
        };
        let live = Live {
            hub: Arc::clone(hub),
            is_wanted,
            is_asked: AtomicBool::default(),
            is_followed: AtomicBool::default(),
            state: Mutex::new(State { span, is_theirs: false, is_over: false }),
        };
        match step {
            Step::Of(_) if is_wanted => live.follow(false),
            Step::Operator if is_wanted => live.follow(true),
            // Whoever has no access is only counted when the request is over.
            _ => {}
        }
        Self(Some(Arc::new(live)))
    }

    fn followed(&self) -> Option<&Arc<Live>> {
        self.0.as_ref().filter(|live| live.is_followed.load(Relaxed))
    }

    /// The id of its trace, for the log.
    pub(in crate::observe) fn trace_id(&self) -> Option<String> {
        self.followed().map(|live| hex(&live.state().span.trace))
    }

    /// Whoever sent this request to an MCP server has access: what the headers say of its trace is believed.
    pub fn admitted(&self, headers: &HeaderMap) {
        let Some(live) = &self.0 else { return };
        let theirs = TraceContext::read(headers);
        let is_asked_for = live.hub.follows_clients() && theirs.is_some_and(|theirs| theirs.is_sampled);
        if live.is_wanted || is_asked_for {
            live.follow(true);
        }
        let mut state = live.state();
        if let Some(theirs) = theirs {
            state.span.trace = theirs.trace;
            state.span.parent = Some(Parent { id: theirs.span, is_remote: true });
            state.is_theirs = true;
        }
        let named =
            headers.get("mcp-method").and_then(|named| METHODS.iter().find(|known| *named == **known));
        state.span.attributes.extend(named.map(|known| ("mcp.method.name", Value::from(*known))));
    }

    /// The answer turned out to be a stream.
    pub fn streams(&self) {
        if let Some(live) = self.followed() {
            live.state().span.attributes.push(("mcp_deputy.streamed", Value::Flag(true)));
        }
    }

    /// A call to this MCP server begins, whose request has these headers: it is told that it belongs to this span. Where the
    /// request is not followed the headers stay as they are.
    pub fn leg(&self, headers: &mut HeaderMap, server: &str) -> Leg {
        let Some(live) = self.followed() else { return Leg::default() };
        let mut leg = Self::call(live, "forward", "mcp_deputy.server", server);
        if let Some(called) = &mut leg.0 {
            let (trace, span) = (called.span.trace, called.span.id);
            if let Some(value) = (TraceContext { trace, span, is_sampled: true }).header() {
                headers.insert(TRACEPARENT, value);
            }
            if !live.state().is_theirs {
                headers.remove(TRACESTATE);
            }
        }
        leg
    }

    /// A call to the third party of this provider entry is over, after so long; the reason why there is no good answer is
    /// empty where there is one.
    pub fn called(&self, call: &'static str, provider: &str, took: Duration, reason: &'static str) {
        let Some(live) = self.followed() else { return };
        let mut leg = Self::call(live, call, "mcp_deputy.provider", provider);
        if let Some(called) = &mut leg.0 {
            called.span.begun = called.span.begun.saturating_sub(took);
        }
        leg.ends(|| (None, reason));
    }

    fn call(live: &Arc<Live>, name: &'static str, key: &'static str, whom: &str) -> Leg {
        let Some(id) = live.hub.draw() else { return Leg::default() };
        let (trace, parent) = {
            let state = live.state();
            (state.span.trace, state.span.id)
        };
        let span = Finished {
            trace,
            id,
            parent: Some(Parent { id: parent, is_remote: false }),
            kind: Kind::Called,
            name: Cow::Borrowed(name),
            begun: live.hub.now(),
            ended: Duration::ZERO,
            attributes: vec![(key, Value::Text(whom.to_owned().into()))],
            events: Vec::new(),
            failed: false,
        };
        Leg(Some(Called { hub: Arc::clone(&live.hub), span }))
    }

    /// Something happened. `attributes` is asked only where somebody hears it.
    pub(in crate::observe) fn happened(
        &self,
        name: &'static str,
        attributes: impl FnOnce() -> Vec<(&'static str, Value)>,
    ) {
        let Some(live) = &self.0 else { return };
        let at = live.hub.now();
        let mut state = live.state();
        if !state.is_over && state.span.events.len() < MOST_EVENTS {
            state.span.events.push(Event { name, at, attributes: attributes() });
        }
    }

    /// Whoever brings this goes on with the journey.
    pub fn leads_to(&self, given: &str) {
        let Some(live) = self.followed() else { return };
        let (trace, span) = {
            let state = live.state();
            (state.span.trace, state.span.id)
        };
        live.hub.journeys.leave(given, Left { trace, span, at: live.hub.now() });
    }

    /// The same with a parameter in the query of an address.
    pub fn leads_to_parameter(&self, url: &str, name: &str) {
        if self.followed().is_none() {
            return;
        }
        let Ok(url) = Url::parse(url) else { return };
        for (_, value) in url.query_pairs().filter(|(key, _)| key == name) {
            self.leads_to(&value);
        }
    }

    /// The request brings this: perhaps it goes on with a journey that is followed, and is followed then too.
    pub fn comes_from(&self, brought: Option<&str>) {
        let (Some(live), Some(brought)) = (&self.0, brought) else { return };
        let Some(left) = live.hub.journeys.take(brought, live.hub.now()) else { return };
        live.follow(false);
        let mut state = live.state();
        state.span.trace = left.trace;
        state.span.parent = Some(Parent { id: left.span, is_remote: false });
    }

    fn end(&self, status: Option<u16>, outcome: &'static str) {
        let Some(live) = &self.0 else { return };
        let now = live.hub.now();
        let finished = {
            let mut state = live.state();
            if mem::replace(&mut state.is_over, true) {
                return;
            }
            Finished {
                attributes: mem::take(&mut state.span.attributes),
                events: mem::take(&mut state.span.events),
                ..state.span.clone()
            }
        };
        if live.is_wanted {
            live.follow(false);
        }
        if live.is_followed.load(Relaxed) {
            live.hub.push(ended(finished, now, status, outcome));
        }
    }
}

fn ended(mut span: Finished, now: Duration, status: Option<u16>, outcome: &'static str) -> Finished {
    span.ended = now.max(span.begun);
    span.failed |= status.is_some_and(|status| status >= 500);
    if let Some(status) = status {
        span.attributes.push(("http.response.status_code", Value::Number(status.into())));
    }
    if !outcome.is_empty() {
        span.attributes.push(("mcp_deputy.outcome", outcome.into()));
    }
    span
}

/// A request that is being answered. Where it is dropped without an end, its client went away.
#[derive(Debug, Default)]
pub struct Entered(pub(super) Span);

impl Entered {
    /// Its span.
    pub fn span(&self) -> Span {
        self.0.clone()
    }

    /// It was answered.
    pub fn ends(self, status: u16, outcome: &'static str) {
        self.0.end(Some(status), outcome);
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        // Not heard where it has ended.
        self.0.end(None, "client_gone");
    }
}

/// A call to another machine. Where it is dropped without an end, nobody waited for it any more.
#[derive(Debug, Default)]
pub struct Leg(Option<Called>);

#[derive(Debug)]
struct Called {
    hub: Arc<Hub>,
    span: Finished,
}

impl Leg {
    /// It is over: with this status where there was an answer, and a reason where there was none that is any good. Asked only
    /// where somebody hears it.
    pub fn ends(mut self, how: impl FnOnce() -> (Option<u16>, &'static str)) {
        let Some(mut called) = self.0.take() else { return };
        let (status, reason) = how();
        called.span.failed = !reason.is_empty();
        let now = called.hub.now();
        called.hub.push(ended(called.span, now, status, reason));
    }
}

impl Drop for Leg {
    fn drop(&mut self) {
        if let Some(called) = self.0.take() {
            let now = called.hub.now();
            called.hub.push(ended(called.span, now, None, "nobody_waits"));
        }
    }
}
