//! `POST /consent`: the answer to the consent page. The only way from here to the third party.

use http::{
    HeaderMap,
    header::{REFERER, SET_COOKIE},
};

use super::{
    address::Address,
    browser::{self, Cookies},
    limits::Gate,
    page::{ErrorKind, Label, LeaveTo, StartAgain, Voice},
    parameters::Parameters,
    reply::{self, Reply},
    request_id::RequestId,
    site::Site,
    visit::Visit,
};
use crate::{
    domain::{
        post::SameOriginPost,
        refusal::{ErrorCode, Refusal},
    },
    flow::{ConsentForm, Consented, Decision, Departed, Failure},
    observe::trace,
    proxy::Body,
};

/// Takes what the person pressed.
pub(super) async fn answer(visit: Visit<'_>, body: Body) -> Reply {
    let (cookies, address) = (visit.cookies(), visit.address());
    let allowed = visit.pass_from_page(Gate::Approvals);
    let voice = visit.voice();
    let Visit { site, id, head, .. } = visit;
    let consented = async {
        allowed?;
        consent(site, &head.headers, cookies.render(), address, body).await
    };
    let consented = match consented.await {
        Ok(consented) => consented,
        Err(failure) => {
            return reply::failure_page(voice, &failure, id, page_before(site, &head.headers));
        }
    };
    match consented {
        Consented::NothingChosen { again } => {
            reply::error_page(voice, ErrorKind::NothingChosen, id, StartAgain::new(&again))
        }
        Consented::Denied { to } => reply::leave(voice, &to, reply::client_at(&to), id),
        Consented::Departed(departed) => depart(site, voice, &cookies, &departed, id),
    }
}

/// Sends a browser to the third party, with the cookie that belongs to the way back.
pub(super) fn depart(
    site: &Site,
    voice: Voice<'_>,
    cookies: &Cookies,
    departed: &Departed,
    id: RequestId,
) -> Reply {
    trace::current().leads_to_parameter(&departed.url, "state");
    let whom = LeaveTo::ThirdParty { name: Label::new(&departed.title) };
    let mut reply = reply::leave(voice, &departed.url, whom, id);
    let headers = reply.headers_mut();
    // Over https the tickets are seen here; on http loopback they are seen, and trimmed, at the callback.
    for suffix in browser::surplus(cookies.tickets(), 1) {
        headers.append(SET_COOKIE, site.jar.ticket_gone(&departed.provider, suffix));
    }
    headers.append(SET_COOKIE, site.jar.ticket(&departed.provider, &departed.suffix, &departed.cookie));
    reply
}

async fn consent(
    site: &Site,
    headers: &HeaderMap,
    render: Option<String>,
    address: Address,
    body: Body,
) -> Result<Consented, Failure> {
    let read = read(site, headers, body).await;
    let (form, decision, post) = read.inspect_err(reply::note_refused_page)?;
    let opens = decision == Decision::Approve;
    if opens {
        site.limits.open(address, site.clock.now())?;
    }
    let consented = site.flows.consent(form, decision, render, post).await;
    if opens && !matches!(consented, Ok(Consented::Departed(_))) {
        site.limits.close(address, site.clock.now());
    }
    consented
}

async fn read(
    site: &Site,
    headers: &HeaderMap,
    body: Body,
) -> Result<(ConsentForm, Decision, SameOriginPost), Refusal> {
    // Before anything is read: a form that another site sent is not looked at.
    let post = site.same_origin(headers)?;
    let form = site.form(headers, body).await?;
    let decision = decision(&form)?;
    let request = form.take("request")?.ok_or(Refusal::new(
        ErrorCode::InvalidRequest,
        "form_broken",
        "This form was not made here.",
    ))?;
    trace::current().comes_from(Some(&request));
    let ticked = form.all("scope").into_iter().collect();
    Ok((ConsentForm { request, ticked }, decision, post))
}

/// What was pressed. There is no default: a form without an answer is none.
pub(super) fn decision(form: &Parameters) -> Result<Decision, Refusal> {
    match form.one("decision")? {
        Some("approve") => Ok(Decision::Approve),
        Some("deny") => Ok(Decision::Deny),
        _ => Err(Refusal::new(ErrorCode::InvalidRequest, "decision_missing", "decision is needed.")),
    }
}

/// The page that the form stood on, from the `Referer` that browsers send within an origin: to start again there. It can
/// only be our own authorization endpoint, which judges everything anew.
fn page_before(site: &Site, headers: &HeaderMap) -> Option<StartAgain> {
    let referer = headers.get(REFERER)?.to_str().ok()?;
    let path = referer.strip_prefix(site.public_url.as_str())?;
    path.starts_with("/authorize?").then(|| StartAgain::new(path)).flatten()
}
