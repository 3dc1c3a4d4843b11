//! A site that serves sample pages with the real headers, and records what is posted to it.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use mcp_deputy::web::page::{
    Arrival, Branding, Connected, Consent, ErrorKind, ErrorPage, Home, Label, Leave, LeaveTo, LeaveUrl,
    PageContext, Pages, ProductName, SignedOut, Voice,
};
use tokio::net::TcpListener;

use crate::extremes;

/// One request as a handler sees it.
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

/// Serves on a free port of 127.0.0.1 as long as the test runs, and gives the port.
pub(crate) async fn serve<F>(handler: F) -> u16
where
    F: Fn(Asked) -> Response<String> + Send + Sync + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let handler = Arc::new(handler);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let handler = Arc::clone(&handler);
            let service = service_fn(move |request: http::Request<Incoming>| {
                let handler = Arc::clone(&handler);
                async move {
                    let (parts, body) = request.into_parts();
                    let body =
                        body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
                    let answer = handler(Asked {
                        method: parts.method,
                        path: parts.uri.path().to_owned(),
                        query: parts.uri.query().unwrap_or_default().to_owned(),
                        headers: parts.headers,
                        body: String::from_utf8_lossy(&body).into_owned(),
                    });
                    Ok::<_, Infallible>(answer.map(|body| Full::new(Bytes::from(body))))
                }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    port
}

/// A page that is not ours, without any header.
pub(crate) fn html(body: &str) -> Response<String> {
    let body = format!("<!doctype html><title>other</title><body>{body}");
    Response::builder().header(header::CONTENT_TYPE, "text/html; charset=utf-8").body(body).unwrap()
}

/// Our pages, and what came back through their forms.
#[derive(Clone)]
pub(crate) struct Site {
    port: u16,
    posts: Arc<Mutex<Vec<Post>>>,
}

/// A form that arrived.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    pub(crate) path: String,
    pub(crate) origin: Option<String>,
    pub(crate) body: String,
}

impl Site {
    /// Serves `/consent/N`, `/arrival/N`, `/connected/N`, `/signed-out/N`, `/error/N`, `/home/N`, `/leave/N` (samples). A
    /// POST answers with the page that leaves for `onward`. Pages speak the language that the browser asks for.
    ///
    /// Queries undo one protection each, to prove that a test would notice: `unguarded` (Approve is there at once),
    /// `redirect` (the POST answers 303), `opener` (sends COOP), `float` (no forced start at the top), `stay` (a page
    /// that leaves does not).
    pub(crate) async fn start(onward: String) -> Self {
        Self::serving(Pages::new(ProductName::new("Example gateway")).unwrap(), onward).await
    }

    /// The same with an operator's pages.
    pub(crate) async fn branded(branding: &Branding) -> Self {
        let pages = Pages::branded(branding).unwrap();
        pages.check().unwrap();
        Self::serving(pages, "http://localhost/".to_owned()).await
    }

    async fn serving(pages: Pages, onward: String) -> Self {
        let posts: Arc<Mutex<Vec<Post>>> = Arc::default();
        let seen = Arc::clone(&posts);
        let port = serve(move |asked| {
            if asked.method == Method::POST {
                let origin =
                    asked.headers.get(header::ORIGIN).map(|value| value.to_str().unwrap().to_owned());
                let redirect = asked.body.ends_with("=redirect");
                seen.lock().unwrap().push(Post { path: asked.path, origin, body: asked.body });
                if redirect {
                    let see = Response::builder().status(303).header(header::LOCATION, &onward);
                    return see.body(String::new()).unwrap();
                }
                let to = LeaveTo::ThirdParty { name: Label::new("GitHub") };
                return page(
                    pages.for_reader(&asked.headers),
                    &Leave { url: LeaveUrl::new(&onward).unwrap(), to },
                    "",
                );
            }
            let mut parts = asked.path.trim_start_matches('/').split('/');
            let kind = parts.next().unwrap_or_default();
            let index = parts.next().and_then(|index| index.parse().ok()).unwrap_or(0);
            let query = asked.query.as_str();
            let voice = pages.for_reader(&asked.headers);
            match kind {
                "arrival" => sample::<Arrival>(voice, index, query),
                "connected" => sample::<Connected>(voice, index, query),
                "consent" => sample::<Consent>(voice, index, query),
                "error" => sample::<ErrorPage>(voice, index, query),
                "home" => sample::<Home>(voice, index, query),
                "leave" => sample::<Leave>(voice, index, query),
                "signed-out" => sample::<SignedOut>(voice, index, query),
                "extreme" => extremes::answer(voice, asked.path.trim_start_matches("/extreme/")),
                _ => Response::builder().status(404).body(String::new()).unwrap(),
            }
        })
        .await;
        Self { port, posts }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(crate) fn posts(&self) -> Vec<Post> {
        self.posts.lock().unwrap().clone()
    }
}

/// A page of the site.
pub(crate) struct Sample {
    pub(crate) path: String,
    /// What its pictures are called.
    pub(crate) name: String,
    /// Something can be approved there.
    pub(crate) is_approval: bool,
}

/// Every page there is, with everything that it can show, and the extremes.
pub(crate) fn every_page() -> Vec<Sample> {
    let mut all = Vec::new();
    for (kind, samples) in [
        ("arrival", Arrival::samples().len()),
        ("connected", Connected::samples().len()),
        ("consent", Consent::samples().len()),
        ("error", ErrorPage::samples().len()),
        ("home", Home::samples().len()),
        ("leave", Leave::samples().len()),
        ("signed-out", SignedOut::samples().len()),
    ] {
        for index in 0..samples {
            let stay = if kind == "leave" { "?stay" } else { "" };
            let slug = (kind == "error").then(|| ErrorKind::ALL.get(index).map(|kind| kind.slug())).flatten();
            all.push(Sample {
                path: format!("/{kind}/{index}{stay}"),
                name: slug.map_or_else(|| format!("{kind}-{index}"), |slug| format!("{kind}-{slug}")),
                is_approval: matches!(kind, "arrival" | "consent"),
            });
        }
    }
    all.extend(extremes::NAMES.iter().map(|(name, is_approval)| Sample {
        path: format!("/extreme/{name}"),
        name: format!("extreme-{name}"),
        is_approval: *is_approval,
    }));
    all
}

fn sample<C: PageContext>(voice: Voice<'_>, index: usize, query: &str) -> Response<String> {
    page(voice, &C::samples()[index], query)
}

/// A page of ours with the headers that are really sent.
pub(crate) fn page<C: PageContext>(voice: Voice<'_>, context: &C, query: &str) -> Response<String> {
    let mut body = voice.render(context).unwrap();
    let mut answer = Response::new(String::new());
    answer.headers_mut().extend(voice.pages().security_headers(C::KIND));
    match query {
        "unguarded" => {
            body = body.replace(".approve { visibility: hidden; }", "").replace("animation: approve", "x: y");
            answer.headers_mut().remove("content-security-policy");
        }
        "redirect" => body = body.replace("value=\"approve\"", "value=\"redirect\""),
        "stay" => body = body.replace("http-equiv=\"refresh\"", "name=\"x\""),
        "opener" => {
            let same = http::HeaderValue::from_static("same-origin");
            answer.headers_mut().insert("cross-origin-opener-policy", same);
        }
        "float" => {
            answer.headers_mut().remove("document-policy");
        }
        _ => {}
    }
    *answer.body_mut() = body;
    answer
}
