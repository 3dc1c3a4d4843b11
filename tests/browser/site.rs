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
    Arrival, Connected, Consent, ErrorPage, Home, Label, Leave, LeaveTo, LeaveUrl, PageContext, Pages,
    ProductName, SignedOut,
};
use tokio::net::TcpListener;

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
    /// Serves `/consent/N`, `/arrival/N`, `/connected/N`, `/signed-out/N`, `/error/N`, `/home/N`, `/leave/N` (samples). A POST answers with the page
    /// that leaves for `onward`.
    ///
    /// Queries undo one protection each, to prove that a test would notice: `unguarded` (Approve is there at once),
    /// `redirect` (the POST answers 303), `opener` (sends COOP), `float` (no forced start at the top), `stay` (a page
    /// that leaves does not).
    pub(crate) async fn start(onward: String) -> Self {
        let pages = Pages::new(ProductName::new("Example gateway")).unwrap();
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
                return page(&pages, &Leave { url: LeaveUrl::new(&onward).unwrap(), to }, "");
            }
            let mut parts = asked.path.trim_start_matches('/').split('/');
            let kind = parts.next().unwrap_or_default();
            let index = parts.next().and_then(|index| index.parse().ok()).unwrap_or(0);
            let query = asked.query.as_str();
            match kind {
                "arrival" => sample::<Arrival>(&pages, index, query),
                "connected" => sample::<Connected>(&pages, index, query),
                "consent" => sample::<Consent>(&pages, index, query),
                "error" => sample::<ErrorPage>(&pages, index, query),
                "home" => sample::<Home>(&pages, index, query),
                "leave" => sample::<Leave>(&pages, index, query),
                "signed-out" => sample::<SignedOut>(&pages, index, query),
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

fn sample<C: PageContext>(pages: &Pages, index: usize, query: &str) -> Response<String> {
    page(pages, &C::samples()[index], query)
}

fn page<C: PageContext>(pages: &Pages, context: &C, query: &str) -> Response<String> {
    let mut body = pages.render(context).unwrap();
    let mut answer = Response::new(String::new());
    answer.headers_mut().extend(pages.security_headers(C::KIND));
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
