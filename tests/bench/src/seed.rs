//! Fills a gateway's store with people who have tokens: by the real journey, over HTTP, against the running binary.
//!
//! One app registers. Then each person opens the authorization page, approves, comes back from the third party (which
//! is played here as well: the code of person `n` is `code_<n>`), and the app redeems the code. Every person has an
//! address of their own, said by `X-Forwarded-For`, so that no limit has to be raised for it.

use std::{cell::RefCell, net::SocketAddr, path::PathBuf, rc::Rc};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, request::Builder};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpStream, task::LocalSet};

use crate::{
    Failure,
    tell::{DIGITS, HOST},
};

const CALLBACK: &str = "http://127.0.0.1:33418/callback";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Where the gateway listens
    #[arg(long)]
    gateway: SocketAddr,
    /// How many people
    #[arg(long)]
    people: usize,
    /// File for their access tokens, one a line: line n (from 0) is person n's
    #[arg(long)]
    out: PathBuf,
    /// How many of them are on their way at the same time
    #[arg(long, default_value_t = 64)]
    at_once: usize,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tokens = LocalSet::new().block_on(&runtime, seed(options))?;
    std::fs::write(&options.out, tokens.join("\n") + "\n")?;
    Ok(())
}

async fn seed(options: &Options) -> Result<Vec<String>, Failure> {
    let client_id = register(options.gateway).await?;
    let (next, tokens) =
        (Rc::new(RefCell::new(0)), Rc::new(RefCell::new(vec![String::new(); options.people])));
    let lanes: Vec<_> = (0..options.at_once)
        .map(|_| {
            let (next, tokens, client_id) = (Rc::clone(&next), Rc::clone(&tokens), client_id.clone());
            let gateway = options.gateway;
            tokio::task::spawn_local(async move {
                let mut browser = Browser::open(gateway).await?;
                loop {
                    let person = next.replace_with(|person| *person + 1);
                    if person >= tokens.borrow().len() {
                        return Ok::<(), Failure>(());
                    }
                    let token = browser.journey(person, &client_id).await?;
                    tokens.borrow_mut()[person] = token;
                }
            })
        })
        .collect();
    for lane in lanes {
        lane.await??;
    }
    Ok(tokens.take())
}

async fn register(gateway: SocketAddr) -> Result<String, Failure> {
    let registration = json!({
        "client_name": "Benchmark",
        "redirect_uris": [CALLBACK],
        "token_endpoint_auth_method": "none",
    });
    let request = Request::post("/register").header("content-type", "application/json");
    let mut browser = Browser::open(gateway).await?;
    let answer = browser.send(request, registration.to_string(), StatusCode::CREATED).await?;
    text(&answer.json()?, "client_id")
}

/// A connection to the gateway.
struct Browser(SendRequest<Full<Bytes>>);

struct Answer {
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn json(&self) -> Result<Value, Failure> {
        Ok(serde_json::from_str(&self.body)?)
    }

    /// The cookies that it sets, as they are sent back.
    fn cookies(&self) -> String {
        let set = self.headers.get_all("set-cookie").iter().filter_map(|value| value.to_str().ok());
        set.filter_map(|cookie| cookie.split(';').next()).collect::<Vec<_>>().join("; ")
    }
}

impl Browser {
    async fn open(gateway: SocketAddr) -> Result<Self, Failure> {
        let (sender, connection) = handshake(TokioIo::new(TcpStream::connect(gateway).await?)).await?;
        tokio::task::spawn_local(connection);
        Ok(Self(sender))
    }

    async fn send(&mut self, request: Builder, body: String, wanted: StatusCode) -> Result<Answer, Failure> {
        let request = request.header("host", HOST).body(Full::new(Bytes::from(body)))?;
        let step = format!("{} {}", request.method(), request.uri().path());
        self.0.ready().await?;
        let response = self.0.send_request(request).await?;
        let (head, body) = response.into_parts();
        let body = String::from_utf8(body.collect().await?.to_bytes().into())?;
        if head.status != wanted {
            return Err(format!("{step}: {} {body}", head.status).into());
        }
        Ok(Answer { headers: head.headers, body })
    }

    /// One person's way from the authorization page to the app's access token.
    async fn journey(&mut self, person: usize, client_id: &str) -> Result<String, Failure> {
        let address = format!("10.{}.{}.{}", person >> 16 & 255, person >> 8 & 255, person & 255);
        let from = |method: Method, target: String| {
            Request::builder().method(method).uri(target).header("x-forwarded-for", &address)
        };
        let verifier = format!("verifier-{person:040}");
        let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
        let target = format!(
            "/authorize?response_type=code&client_id={client_id}&redirect_uri={}&state=s&code_challenge={challenge}\
             &code_challenge_method=S256&resource={}",
            encoded(CALLBACK),
            encoded(&format!("https://{HOST}/mcp")),
        );
        let page = self.send(from(Method::GET, target), String::new(), StatusCode::OK).await?;
        let request = between(&page.body, "name=\"request\" value=\"", "\"").ok_or("there is no form")?;

        let approval = from(Method::POST, "/consent".to_owned())
            .header("content-type", "application/x-www-form-urlencoded")
            .header("origin", format!("https://{HOST}"))
            .header("sec-fetch-site", "same-origin")
            .header("cookie", page.cookies());
        let form = format!("request={}&decision=approve", encoded(request));
        let departure = self.send(approval, form, StatusCode::OK).await?;
        let state = between(&departure.body, "state=", "&")
            .or_else(|| between(&departure.body, "state=", "\""))
            .ok_or("there is no way to the third party")?;

        let target = format!("/callback/bench?code=code_{person:0DIGITS$}&state={state}");
        let callback = from(Method::GET, target).header("cookie", departure.cookies());
        let arrival = self.send(callback, String::new(), StatusCode::SEE_OTHER).await?;
        let location = arrival.headers.get("location").ok_or("there is no way to the app")?.to_str()?;
        let code = between(&format!("{location}&"), "code=", "&").ok_or("there is no code")?.to_owned();

        let redemption = from(Method::POST, "/token".to_owned())
            .header("content-type", "application/x-www-form-urlencoded");
        let form = format!(
            "grant_type=authorization_code&code={}&code_verifier={verifier}&redirect_uri={}&client_id={client_id}",
            encoded(&code),
            encoded(CALLBACK),
        );
        text(&self.send(redemption, form, StatusCode::OK).await?.json()?, "access_token")
    }
}

fn text(answer: &Value, member: &str) -> Result<String, Failure> {
    Ok(answer[member].as_str().ok_or_else(|| format!("there is no {member}"))?.to_owned())
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}

/// Percent-encoded for a query or a form.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_form_cannot_hold_is_encoded() {
        assert_eq!(encoded("https://a.b/c?d=e f"), "https%3A%2F%2Fa.b%2Fc%3Fd%3De%20f");
    }

    #[test]
    fn what_stands_between_is_found() {
        assert_eq!(between("state=abc&amp;x", "state=", "&"), Some("abc"));
        assert_eq!(between("state=abc", "state=", "&"), None);
    }
}
