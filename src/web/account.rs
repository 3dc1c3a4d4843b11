//! `GET` and `POST /account`: the page of connected apps.
//!
//! A GET shows it, or where to sign in first; it changes nothing. Every POST carries the sealed page and is judged as the
//! answer to a consent page is: where it came from before anything is read, then the seal and the render cookie. The way to
//! the third party is [`reply::leave`], the way back [`super::callback`]; whatever was ended leads to the page again by 303.

use http::{HeaderMap, HeaderValue, StatusCode, header::SET_COOKIE};

use super::{
    authorize::{ago, named_by, publisher},
    browser::Cookies,
    consent::depart,
    limits::Gate,
    page::{self, Connected, ErrorKind, Label, SignInAt, SignedInAs, SignedOut, StartAgain, Verbatim},
    parameters::Parameters,
    reply::{self, Reply},
    site::Site,
    visit::Visit,
};
use crate::{
    domain::{
        refusal::{ErrorCode, Refusal},
        time::Timestamp,
    },
    flow::{
        AccountQuery, AccountShown, Answered, ConnectedAccount, ConnectedApp, Departed, Failure, JustEnded,
    },
    proxy::Body,
};

/// Where the page is.
pub(super) const PATH: &str = "/account";

/// What was pressed.
enum Act {
    SignIn { provider: String, chooses_account: bool },
    SignOut,
    Disconnect { account: String, app: String },
    DisconnectAll { account: String },
}

/// What came of it.
enum Done {
    Departed(Departed),
    SignedOut,
    Ended(String),
}

/// Shows the page.
pub(super) async fn show(visit: &Visit<'_>) -> Reply {
    if let Err(failure) = visit.pass_to_page(Gate::Authorizations) {
        return visit.turned_away(&failure);
    }
    let shown = async {
        let query = visit.query()?;
        let cookies = visit.cookies();
        let query = AccountQuery {
            render: cookies.render(),
            session: cookies.session(),
            page: query.one("page")?.and_then(|page| page.parse().ok()).unwrap_or(1),
            ended: query.take("ended")?,
        };
        visit.site.flows.show_account(query).await
    };
    match shown.await {
        Ok(shown) => {
            let mut reply = reply::page(&visit.site.pages, StatusCode::OK, &context(&shown));
            if let Some(cookie) = &shown.set_render_cookie {
                reply.headers_mut().append(SET_COOKIE, visit.site.jar.render(cookie));
            }
            reply
        }
        Err(failure) => reply::failure_page(&visit.site.pages, &failure, visit.id, again()),
    }
}

/// Takes what the person pressed there.
pub(super) async fn answer(visit: Visit<'_>, body: Body) -> Reply {
    let (cookies, address) = (visit.cookies(), visit.address());
    let allowed = visit.pass_from_page(Gate::Approvals);
    let Visit { site, id, head, .. } = visit;
    let done = async {
        allowed?;
        let read = read(site, &head.headers, &cookies, body).await;
        let (act, answered) = read.inspect_err(reply::note_refused_page)?;
        if !matches!(act, Act::SignIn { .. }) {
            return take(site, act, answered).await;
        }
        // A place among those that are on their way to the third party, as for an approval.
        site.limits.open(address, site.clock.now())?;
        let done = take(site, act, answered).await;
        if done.is_err() {
            site.limits.close(address, site.clock.now());
        }
        done
    };
    match done.await {
        Ok(Done::Departed(departed)) => depart(site, &cookies, &departed, id),
        Ok(Done::SignedOut) => {
            let providers = site.flows.catalog().providers.values();
            let providers = providers.map(|provider| Label::new(&provider.title)).collect();
            let mut reply = reply::page(&site.pages, StatusCode::OK, &SignedOut { providers });
            reply.headers_mut().append(SET_COOKIE, site.jar.session_gone());
            reply
        }
        Ok(Done::Ended(what)) => match HeaderValue::try_from(format!("{PATH}?ended={what}")) {
            Ok(location) => reply::see_other(location),
            Err(_) => reply::error_page(&site.pages, ErrorKind::Internal, id, again()),
        },
        Err(failure) => reply::failure_page(&site.pages, &failure, id, again()),
    }
}

/// The way back after a sign-in.
pub(super) fn signed_in() -> Reply {
    reply::see_other(HeaderValue::from_static(PATH))
}

/// A link to the page.
pub(super) fn again() -> Option<StartAgain> {
    StartAgain::new(PATH)
}

async fn read(
    site: &Site,
    headers: &HeaderMap,
    cookies: &Cookies,
    body: Body,
) -> Result<(Act, Answered), Refusal> {
    // Before anything is read: a form that another site sent is not looked at.
    let post = site.same_origin(headers)?;
    let parameters = site.form(headers, body).await?;
    let act = act(&parameters)?;
    let form = parameters.take("form")?.ok_or(Refusal::new(
        ErrorCode::InvalidRequest,
        "form_broken",
        "This form was not made here.",
    ))?;
    Ok((act, Answered { form, render: cookies.render(), session: cookies.session(), post }))
}

/// What was pressed: one thing. There is no default.
fn act(form: &Parameters) -> Result<Act, Refusal> {
    const UNCLEAR: Refusal =
        Refusal::new(ErrorCode::InvalidRequest, "act_missing", "What was pressed is not clear.");
    let account = || form.take("account")?.ok_or(UNCLEAR);
    let mut acts = Vec::new();
    for (name, chooses_account) in [("sign_in", false), ("another", true)] {
        acts.extend(form.take(name)?.map(|provider| Act::SignIn { provider, chooses_account }));
    }
    if let Some(app) = form.take("disconnect")? {
        acts.push(Act::Disconnect { account: account()?, app });
    }
    if form.one("disconnect_all")?.is_some() {
        acts.push(Act::DisconnectAll { account: account()? });
    }
    if form.one("sign_out")?.is_some() {
        acts.push(Act::SignOut);
    }
    match (acts.pop(), acts.is_empty()) {
        (Some(act), true) => Ok(act),
        _ => Err(UNCLEAR),
    }
}

async fn take(site: &Site, act: Act, answered: Answered) -> Result<Done, Failure> {
    let flows = &site.flows;
    Ok(match act {
        Act::SignIn { provider, chooses_account } => {
            Done::Departed(flows.sign_in(provider, chooses_account, answered).await?)
        }
        Act::SignOut => {
            flows.sign_out(answered).await?;
            Done::SignedOut
        }
        Act::Disconnect { account, app } => Done::Ended(flows.disconnect(account, app, answered).await?),
        Act::DisconnectAll { account } => {
            flows.disconnect_all(account, answered).await?;
            Done::Ended("all".to_owned())
        }
    })
}

fn context(shown: &AccountShown) -> Connected {
    let others = shown.others.iter();
    Connected {
        accounts: shown.accounts.iter().map(|account| signed_in_as(account, shown.rendered_at)).collect(),
        others: others
            .map(|other| SignInAt { id: other.name.clone(), title: Label::new(&other.title) })
            .collect(),
        ended: shown.ended.as_ref().map(|ended| match ended {
            JustEnded::All => page::Ended::All,
            JustEnded::One(name) => page::Ended::One { name: name.as_deref().map(Label::new) },
        }),
        form: shown.form.clone(),
    }
}

fn signed_in_as(account: &ConnectedAccount, now: Timestamp) -> SignedInAs {
    let (page, pages) = account.page;
    let at = |number: usize| StartAgain::new(&format!("{PATH}?page={number}"));
    SignedInAs {
        id: account.provider.name.clone(),
        title: Label::new(&account.provider.title),
        login: Label::new(&account.known.login),
        chooses_account: !account.provider.choose_account_params.is_empty(),
        apps: account.apps.iter().map(|app| connected(app, now)).collect(),
        page,
        pages,
        before: page.checked_sub(1).filter(|before| *before > 0).and_then(at),
        after: page.checked_add(1).filter(|after| *after <= pages).and_then(at),
        in_all: account.in_all,
        is_cut: account.is_cut,
    }
}

fn connected(app: &ConnectedApp, now: Timestamp) -> page::ConnectedApp {
    let client = app.client.as_ref();
    let name = client.and_then(|client| client.metadata.client_name.as_deref()).unwrap_or_default();
    let definition = |scope: &str| app.server.as_ref()?.scopes.iter().find(|known| known.name == scope);
    page::ConnectedApp {
        id: app.id.to_base64url(),
        name: Label::new(name),
        named_by: client.map(named_by),
        published_by: client.and_then(publisher).map(Verbatim::new),
        client_id: Verbatim::new(&app.client_id),
        destination: app.destination().as_ref().map(page::Destination::from),
        redirect_uri: app.redirect_uri.as_deref().map(Verbatim::new),
        server: app.server.as_ref().map(|server| Label::new(&server.name)),
        resource: Verbatim::new(app.resource.as_str()),
        scopes: app
            .scopes
            .iter()
            .map(|name| page::ScopeLine::new(name, definition(name).map(|known| &*known.description)))
            .collect(),
        since: Label::new(&ago(app.since, now)),
        used: (!app.is_in_use).then(|| Label::new(&ago(app.used_at, now))),
        grants: app.grants,
    }
}
