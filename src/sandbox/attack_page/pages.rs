//! What the attack page and the attacker's page look like: the product's style under a banner of their own.
//!
//! Every value that is not written here passes through [`escape`]. The policy allows the one style by its hash, forms to
//! ourselves, and nothing else.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderValue, Response, StatusCode, header};

use super::attacker::{Arrival, Brought};
use crate::sandbox::{
    http::{Body, answer, escape},
    replay::{ATTACKER_CALLBACK, Facts, HONEST_CALLBACK, Target},
    stage::Actors,
    story::{Entry, Message, Story},
    third_party,
};

/// The product's style, and what stories need beside it.
const STYLE: &str = concat!(include_str!("../../../templates/style.css"), include_str!("style.css"));

/// Renders the pages. Clones are the same.
#[derive(Clone)]
pub(super) struct Pages {
    policy: HeaderValue,
}

impl Pages {
    pub(super) fn new() -> Self {
        let hash = STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        );
        // Base64 is always a header value; without it, nothing at all would be allowed.
        let policy = HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"));
        Self { policy }
    }

    /// The page with the buttons.
    pub(super) fn front(&self, actors: &Actors) -> Response<Body> {
        let body = format!(
            "<p>A third party that remembers consent is about to be tricked: somebody registers a client of his own at a \
             proxy, and sends a link to a person who has used the proxy before. Play it, and see where her code ends \
             up.</p>{}\
             <h2>With your own browser</h2>\
             <p>Follow the attacker's link yourself, through either proxy.</p>\
             <p><a href=\"/yourself\">Walk into the trap</a></p>\
             <h2>With your own MCP client</h2>\
             <p>Give it this URL: <code>{}</code></p>\
             <h2>Who is where</h2><dl>\
             <dt>mcp-deputy</dt><dd><code>{}</code></dd>\
             <dt>The naive proxy, vulnerable on purpose</dt><dd><code>{}</code></dd>\
             <dt>{}, the third party (simulated)</dt><dd><code>{}</code></dd></dl>",
            buttons(),
            escape(&actors.mcp_url()),
            escape(actors.origin()),
            escape(actors.naive_proxy.origin()),
            third_party::NAME,
            escape(actors.third_party.origin()),
        );
        self.page("The confused deputy, and how it is stopped", &body)
    }

    /// The honest story.
    pub(super) fn honest(&self, story: &Story) -> Response<Body> {
        let body = format!(
            "<p class=\"outcome good\">The code went to Ada's app, at <code>{HONEST_CALLBACK}</code>, and nowhere else. \
             She was asked first, by mcp-deputy.</p>{}{}",
            told(story),
            after()
        );
        self.page("The honest flow", &body)
    }

    /// The story of an attack, and where the code ended up.
    pub(super) fn attack(&self, target: Target, story: &Story, facts: &Facts) -> Response<Body> {
        let outcome = match (facts.code_arrived, &facts.attacker_became, facts.victim_is_asked) {
            (true, Some(login), _) => format!(
                "<p class=\"outcome bad\">The code went to the attacker, at <code>{ATTACKER_CALLBACK}</code>. He redeemed \
                 it and works with <b>{}</b>'s account now. She saw no page.</p>",
                escape(login)
            ),
            (true, None, _) => format!(
                "<p class=\"outcome bad\">The code went to the attacker, at <code>{ATTACKER_CALLBACK}</code>, but he could \
                 not use it.</p>"
            ),
            (false, _, true) => format!(
                "<p class=\"outcome good\">There is no code. Ada's browser stands at a page that asks her, and names \
                 attacker.example first. Authorization requests that the third party saw: {}.</p>",
                facts.third_party_requests
            ),
            (false, _, false) => {
                "<p class=\"outcome\">No code went to the attacker, and nobody was asked.</p>".to_owned()
            }
        };
        let title = format!("The attack through {}", target.name());
        self.page(&title, &format!("{outcome}{}{}", told(story), after()))
    }

    /// The attack with one's own browser.
    pub(super) fn yourself(
        &self,
        actors: &Actors,
        links: Option<&[(Target, String)]>,
        arrivals: &[Arrival],
    ) -> Response<Body> {
        let prepare = |label: &str| {
            format!(
                "<form method=\"post\" action=\"/yourself\"><p class=\"choice\"><button>{label}</button></p></form>"
            )
        };
        let Some(links) = links else {
            let body = format!(
                "<p>Imagine that you connected an honest app some days ago, and approved it. Now an attacker registers \
                 a client that calls itself Claude, at both proxies, and sends you his links.</p>{}",
                prepare("Let him register")
            );
            return self.page("Walk into the trap", &body);
        };
        let mut body = format!(
            "<p>You connected an honest app some days ago: {} remembers that you agreed, and will not ask again. (If you \
             are not signed in there, it lets you choose who you are.) These links arrive by mail:</p><ul>",
            third_party::NAME
        );
        for (target, link) in links {
            // Writing into a string cannot fail.
            let _ = write!(
                body,
                "<li><a href=\"{}\" rel=\"noreferrer\">Try Claude with your tools</a> (through {})</li>",
                escape(link),
                target.name()
            );
        }
        body.push_str(
            "</ul><p>This attacker is on your computer, so mcp-deputy names the port at which he listens. Of one elsewhere it \
             names the host.</p><h2>What arrived at the attacker</h2>",
        );
        if arrivals.is_empty() {
            body.push_str("<p>Nothing yet. <a href=\"/yourself\">Look again</a></p>");
        } else {
            body.push_str("<ul>");
            for arrival in arrivals {
                let _ = write!(body, "<li>{}</li>", arrived(arrival));
            }
            body.push_str("</ul><p><a href=\"/yourself\">Look again</a></p>");
        }
        let _ = write!(
            body,
            "<h2>Start over</h2><p>The attacker forgets what he has.</p>{}\
             <p><a href=\"/\">Back to the buttons</a></p><p class=\"hint\">mcp-deputy is at <code>{}</code>.</p>",
            prepare("Let him register again"),
            escape(actors.origin())
        );
        self.page("Walk into the trap", &body)
    }

    /// The attacker's page, to which a browser was sent. `back`: the page with his links.
    pub(super) fn arrival(&self, arrival: &Arrival, back: &str) -> Response<Body> {
        let outcome = if matches!(arrival.what, Brought::Code(_)) { "bad" } else { "good" };
        let lesson = match (&arrival.what, arrival.target) {
            (Brought::Code(_), Some(Target::Naive)) => {
                "The naive proxy asked you nothing: it sent your browser to the third party at once, which remembered your \
                 earlier consent for the proxy's client id."
            }
            (Brought::Code(_), Some(Target::Deputy)) => {
                "You approved this on mcp-deputy's page, which told you where the code would go. What a person approves \
                 knowingly, no proxy can prevent."
            }
            _ => "There is nothing here that the attacker could use.",
        };
        let body = format!(
            "<p class=\"outcome {outcome}\">{}</p><p>{lesson}</p><p><a href=\"{}\">Back to the links</a></p>",
            arrived(arrival),
            escape(back)
        );
        self.page("You are at the attacker's", &body)
    }

    /// A story that could not be played.
    pub(super) fn broken(&self, why: &str) -> Response<Body> {
        let body = format!("<p class=\"outcome\">It could not be played: {}.</p>{}", escape(why), after());
        let mut response = self.page("That did not work", &body);
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    }

    fn page(&self, title: &str, body: &str) -> Response<Body> {
        let html = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"robots\" content=\"noindex\">\n<title>{title} – sandbox</title>\n<style>{STYLE}</style>\n</head>\n\
             <body>\n<main>\n<p class=\"sandbox\">Sandbox: everybody here is simulated, on this computer.</p>\n\
             <h1>{title}</h1>\n{body}\n<footer>mcp-deputy sandbox</footer>\n</main>\n</body>\n</html>\n",
            title = escape(title),
        );
        let mut response = answer(StatusCode::OK, "text/html; charset=utf-8", html);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_SECURITY_POLICY, self.policy.clone());
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        response
    }
}

/// The three stories.
fn buttons() -> String {
    let button = |path: &str, label: &str| {
        format!("<form method=\"post\" action=\"/play/{path}\"><button>{label}</button></form>")
    };
    format!(
        "<div class=\"stories\">{}{}{}</div>",
        button("honest", "Play the honest flow"),
        button("naive", "Play the attack through the naive proxy"),
        button("deputy", "Play the attack through mcp-deputy"),
    )
}

fn after() -> String {
    format!("<h2>And now</h2>{}<p><a href=\"/\">Back</a></p>", buttons())
}

/// A story as a list.
fn told(story: &Story) -> String {
    let mut html = String::new();
    let mut number = 0;
    let mut open = false;
    for entry in story.entries() {
        // Writing into a string cannot fail.
        let _ = match entry {
            Entry::Scene(title) => {
                let end = if open { "</ol>" } else { "" };
                open = true;
                write!(html, "{end}<h2>{}</h2><ol class=\"story\">", escape(title))
            }
            Entry::Note(text) => write!(html, "<li class=\"note\">{}</li>", escape(text)),
            Entry::Message(Message { from, to, request, answer }) => {
                number += 1;
                write!(
                    html,
                    "<li value=\"{number}\"><b>{} → {}</b><br><code>{}</code><br>{}</li>",
                    escape(from),
                    escape(to),
                    escape(request),
                    escape(answer)
                )
            }
        };
    }
    if open {
        html.push_str("</ol>");
    }
    html
}

/// What the attacker has of it, in a sentence.
fn arrived(arrival: &Arrival) -> String {
    let through = arrival.target.map_or("from nowhere he knows", |target| match target {
        Target::Deputy => "through mcp-deputy",
        Target::Naive => "through the naive proxy",
    });
    match &arrival.what {
        Brought::Code(Some(login)) => format!(
            "A code, {through}. The attacker redeemed it and works with <b>{}</b>'s account now.",
            escape(login)
        ),
        Brought::Code(None) => format!("A code, {through}. The attacker could not redeem it."),
        Brought::Error(error) => format!("No code, {through}: <code>{}</code>.", escape(error)),
        Brought::Nothing => format!("Nothing, {through}."),
    }
}
