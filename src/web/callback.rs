//! `GET /callback/<provider>`: the browser comes back from the third party.
//!
//! Also how the outcome of a journey becomes an answer, which the arrival page shares.

use http::{HeaderValue, header::SET_COOKIE};
use secrecy::SecretString;

use super::{
    account,
    browser::{Cookies, surplus},
    limits::{Blame, Gate},
    page::{ErrorKind, StartAgain},
    parameters::Parameters,
    reply::{self, Reply},
    visit::Visit,
};
use crate::{
    domain::refusal::{ErrorCode, Refusal},
    flow::{Arrived, Callback, Failure},
    observe::trace,
};

/// Every parameter that is read, each at most once.
const ONCE: [&str; 4] = ["state", "code", "error", "iss"];

/// Takes the third party's answer.
pub(super) async fn answer(visit: &Visit<'_>, provider: &str) -> Reply {
    let cookies = visit.cookies();
    let parameters = match visit.query_of(&ONCE) {
        Ok(parameters) => parameters,
        Err(refused) => return *refused,
    };
    let site = visit.site;
    let arriving = async { site.flows.arrive(callback(&parameters, provider, &cookies)?).await };
    let gate = Gate::FailedCallbacks;
    let arrived = Box::pin(site.limits.judged(gate, visit.address(), &*site.clock, arriving, blame)).await;
    match arrived {
        Ok(arrived) => answer_arrived(visit, provider, &cookies, arrived),
        Err(failure) => reply::failure_page(visit.voice(), &failure, visit.id, None),
    }
}

/// What failed here or at the third party is not the browser's doing.
fn blame(failure: &Failure) -> Option<Blame<'static>> {
    let is_theirs =
        matches!(failure, Failure::Refused(refusal) if refusal.code != ErrorCode::TemporarilyUnavailable);
    is_theirs.then_some(Blame::Address)
}

fn callback(parameters: &Parameters, provider: &str, cookies: &Cookies) -> Result<Callback, Refusal> {
    let state = parameters.take("state")?;
    trace::current().comes_from(state.as_deref());
    Ok(Callback {
        provider: provider.to_owned(),
        state,
        code: parameters.one("code")?.map(SecretString::from),
        error: parameters.take("error")?,
        iss: parameters.take("iss")?,
        tickets: cookies.tickets().to_vec(),
        session: cookies.session(),
    })
}

fn answer_arrived(visit: &Visit<'_>, provider: &str, cookies: &Cookies, arrived: Arrived) -> Reply {
    let (site, id) = (visit.site, visit.id);
    let mut set = Vec::new();
    let (mut reply, spent) = match arrived {
        Arrived::AlreadyDone { again } => {
            let again = StartAgain::new(&again);
            (reply::error_page(visit.voice(), ErrorKind::AlreadyDone, id, again), None)
        }
        Arrived::Answer { to, session, spent } => {
            trace::current().leads_to_parameter(&to, "code");
            set.extend(session.map(|session| site.jar.session(&session)));
            (reply::send_on(visit.voice(), &visit.head.headers, &to, id), spent)
        }
        Arrived::SignedIn { session, spent } => {
            set.push(site.jar.session(&session));
            (account::signed_in(), spent)
        }
        Arrived::NotSignedIn { failure, spent } => {
            (reply::sign_in_failed(visit.voice(), &failure, id, account::again()), spent)
        }
        Arrived::SecondPage { id: arrival, cookie, suffix, spent } => {
            trace::current().leads_to(arrival.expose());
            set.extend(surplus(cookies.arrivals(), 1).map(|suffix| site.jar.arrival_gone(suffix)));
            set.push(site.jar.arrival(&suffix, &cookie));
            // The id of an arrival is base64url: nothing in it needs escaping.
            let page = HeaderValue::try_from(format!("/arrival?id={}", arrival.expose()));
            let reply = page.map_or_else(
                |_| reply::error_page(visit.voice(), ErrorKind::Internal, id, None),
                reply::see_other,
            );
            (reply, spent)
        }
    };
    let left: Vec<_> =
        cookies.tickets().iter().filter(|(suffix, _)| Some(suffix) != spent.as_ref()).cloned().collect();
    let gone = spent.as_deref().into_iter().chain(surplus(&left, 0));
    set.extend(gone.map(|suffix| site.jar.ticket_gone(provider, suffix)));
    for cookie in set {
        reply.headers_mut().append(SET_COOKIE, cookie);
    }
    reply
}
