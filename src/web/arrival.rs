//! `GET` and `POST /arrival`: the second page, shown where somebody else came back, or more scopes than were approved.

use http::{HeaderMap, StatusCode, header::SET_COOKIE};

use super::{
    authorize::{Asked, provider_scope},
    browser::Cookies,
    consent::decision,
    limits::Gate,
    page::{Arrival, ArrivalReason, ErrorKind, Label, ScopeLine, StartAgain},
    reply::{self, Reply},
    site::Site,
    visit::Visit,
};
use crate::{
    domain::refusal::{ErrorCode, Refusal},
    flow::{ArrivalPage, Arrived, Failure},
    observe::trace,
    proxy::Body,
};

const ID_MISSING: Refusal =
    Refusal::new(ErrorCode::AccessDenied, "arrival_unknown", "This page is unknown or has expired.");

/// Shows the second page, as often as asked.
pub(super) async fn show(visit: &Visit<'_>) -> Reply {
    if let Err(failure) = visit.pass_to_page(Gate::Authorizations) {
        return visit.turned_away(&failure);
    }
    let asked = async {
        let id = visit.query()?.take("id")?.ok_or(ID_MISSING)?;
        let span = trace::current();
        span.comes_from(Some(&id));
        span.leads_to(&id);
        let shown = visit.site.flows.show_arrival(id.clone(), visit.cookies().arrivals().to_vec()).await?;
        Ok::<_, Failure>((id, shown))
    };
    match asked.await {
        Ok((id, shown)) => reply::page(visit.voice(), StatusCode::OK, &context(visit.site, id, &shown)),
        Err(failure) => reply::failure_page(visit.voice(), &failure, visit.id, None),
    }
}

/// Takes what the person pressed there.
pub(super) async fn answer(visit: Visit<'_>, body: Body) -> Reply {
    let cookies = visit.cookies();
    let allowed = visit.pass_from_page(Gate::Approvals);
    let voice = visit.voice();
    let Visit { site, id, head, .. } = visit;
    let decided = async {
        allowed?;
        decide(site, &head.headers, &cookies, body).await
    };
    match decided.await {
        Err(failure) => reply::failure_page(voice, &failure, id, None),
        Ok(Arrived::AlreadyDone { again }) => {
            reply::error_page(voice, ErrorKind::AlreadyDone, id, StartAgain::new(&again))
        }
        Ok(Arrived::Answer { to, session, spent }) => {
            trace::current().leads_to_parameter(&to, "code");
            let mut reply = reply::leave(voice, &to, reply::client_at(&to), id);
            let session = session.map(|session| site.jar.session(&session));
            for cookie in session.into_iter().chain(spent.map(|suffix| site.jar.arrival_gone(&suffix))) {
                reply.headers_mut().append(SET_COOKIE, cookie);
            }
            reply
        }
        Ok(Arrived::SecondPage { .. } | Arrived::SignedIn { .. } | Arrived::NotSignedIn { .. }) => {
            tracing::error!("a second page led to something else than an answer");
            reply::error_page(voice, ErrorKind::Internal, id, None)
        }
    }
}

async fn decide(site: &Site, headers: &HeaderMap, cookies: &Cookies, body: Body) -> Result<Arrived, Failure> {
    let read = async {
        let post = site.same_origin(headers)?;
        let form = site.form(headers, body).await?;
        Ok::<_, Refusal>((form.take("id")?.ok_or(ID_MISSING)?, decision(&form)?, post))
    };
    let (id, decision, post) = read.await.inspect_err(reply::note_refused_page)?;
    trace::current().comes_from(Some(&id));
    site.flows.answer_arrival(id, decision, cookies.arrivals().to_vec(), cookies.session(), post).await
}

fn context(site: &Site, id: String, shown: &ArrivalPage) -> Arrival {
    let ArrivalPage { arrival, client, destination, server, provider, other_account } = shown;
    let asked = Asked {
        request: &arrival.request,
        client,
        destination,
        server,
        provider,
        scopes: server.definitions(&arrival.request.scopes),
        names: &site.flows.policy().registration.names,
        now: site.clock.now(),
    };
    let is_wider = !arrival.wider.is_empty();
    let reason = match arrival.expected_login.as_deref().map(Label::new) {
        None => ArrivalReason::WiderScopes,
        Some(expected) if is_wider => ArrivalReason::Both { expected },
        Some(expected) if arrival.request.chooses_account => ArrivalReason::ChosenPerson { expected },
        Some(expected) => ArrivalReason::DifferentPerson { expected },
    };
    let lines = arrival
        .granted
        .iter()
        .map(|name| ScopeLine { is_new: arrival.wider.contains(name), ..provider_scope(provider, name) });
    Arrival {
        asking: asked.asking(),
        account: Label::new(&arrival.person.login),
        reason,
        provider_scopes: lines.collect(),
        other_account: other_account.as_deref().and_then(StartAgain::new),
        id,
    }
}
