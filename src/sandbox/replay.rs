//! The honest flow and the attack, played with scripted actors, and the judgement of what came of them.
//!
//! The victim is a person who has connected an honest client before: the third party remembers her and skips its page.
//! The attacker registers a client with a redirect URI of his own and sends her a link. [`attack`] plays this through
//! either proxy and gathers [`Facts`]; [`judge`] holds the facts of both against what must be true. Every claim is about
//! what an actor *received*, and each can fail: a test swaps the proxies.
//!
//! The attacker's host does not exist; what the victim's browser would have sent there is captured by the scripted
//! browser (see [`Browser::capture`]) and handed to the attacker. Called by the `sandbox` command and the attack page.

use std::fmt;

use url::Url;

use super::{
    browser::{Browser, BrowserError, Page},
    mcp_client::{ClientError, McpClient},
    stage::Actors,
    story::Story,
    third_party::ADA,
};

/// Where the honest client waits for its answer.
pub const HONEST_CALLBACK: &str = "http://127.0.0.1:33418/callback";
/// Where the attacker waits.
pub const ATTACKER_CALLBACK: &str = "https://attacker.example/callback";
/// The host that the victim has to see.
const ATTACKER_HOST: &str = "attacker.example";
/// More pages than this between a link and its end are a loop.
const MOST_PAGES: usize = 8;

/// Through which proxy a link leads.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Target {
    /// mcp-deputy.
    Deputy,
    /// The one that is vulnerable on purpose.
    Naive,
}

impl Target {
    /// As the story calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deputy => "mcp-deputy",
            Self::Naive => "the naive proxy",
        }
    }

    /// Its MCP endpoint.
    pub fn mcp_url(self, actors: &Actors) -> String {
        match self {
            Self::Deputy => actors.mcp_url(),
            Self::Naive => actors.naive_mcp_url(),
        }
    }
}

/// What came of an attack.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Facts {
    /// Whether a code arrived at the attacker's callback.
    pub code_arrived: bool,
    /// Who the attacker was after redeeming it.
    pub attacker_became: Option<String>,
    /// How many authorization requests the third party saw during the attack, by its own log.
    pub third_party_requests: usize,
    /// Whether the victim's browser stands at a page of the proxy that asks her, and names the attacker's host.
    pub victim_is_asked: bool,
}

/// A story and what came of it.
#[derive(Clone, Debug)]
pub struct Attack {
    /// Who sent what to whom.
    pub story: Story,
    /// What came of it.
    pub facts: Facts,
}

/// One claim about both attacks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verdict {
    /// What must be true.
    pub claim: &'static str,
    /// Whether it is.
    pub holds: bool,
}

/// Why a story could not be played to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The browser did not get on.
    #[error("the browser did not get on")]
    Browser(#[from] BrowserError),
    /// A client did not get on.
    #[error("the client did not get on")]
    Client(#[from] ClientError),
    /// An honest flow ended at a page where nobody knows what to press.
    #[error("the honest flow ended at the page \"{0}\"")]
    Stuck(String),
}

/// What must be true of the attack through the naive proxy and through mcp-deputy.
pub fn judge(naive: &Facts, deputy: &Facts) -> [Verdict; 5] {
    let verdict = |claim, holds| Verdict { claim, holds };
    [
        verdict("naive proxy: the code went to the attacker", naive.code_arrived),
        verdict(
            "naive proxy: redeeming it made the attacker the victim",
            naive.attacker_became.as_deref() == Some(ADA.login),
        ),
        verdict(
            "mcp-deputy: no code went to the attacker",
            !deputy.code_arrived && deputy.attacker_became.is_none(),
        ),
        verdict(
            "mcp-deputy: the victim's browser stands at our page, which names the attacker's host",
            deputy.victim_is_asked,
        ),
        verdict(
            "mcp-deputy: the third party saw no second authorization request",
            deputy.third_party_requests == 0,
        ),
    ]
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", if self.holds { "ok" } else { "FAILED" }, self.claim)
    }
}

/// The honest flow: from one URL to a tool call as the right person.
pub async fn honest(actors: &Actors) -> Result<Story, ReplayError> {
    let mut story = Story::default();
    story.scene("Ada connects her app through mcp-deputy");
    connect(actors, Target::Deputy, &mut Browser::new("Ada's browser"), &mut story).await?;
    Ok(story)
}

/// The attack on a victim who has connected an honest client before.
pub async fn attack(actors: &Actors, target: Target) -> Result<Attack, ReplayError> {
    let cast = actors.cast();
    let mut story = Story::default();
    let mut browser = Browser::new("Ada's browser");
    story.scene(&format!("Some days ago: Ada connects her own app through {}", target.name()));
    let mut earlier = Story::default();
    connect(actors, target, &mut browser, &mut earlier).await?;
    story.note(
        "She agrees, the app works, and the third party remembers her consent (the honest flow, not shown).",
    );

    story.scene(&format!("Today: the attack through {}", target.name()));
    let mut attacker =
        McpClient::connect("Attacker", "Claude", &target.mcp_url(actors), ATTACKER_CALLBACK, &cast).await?;
    story.messages(attacker.take_messages());
    story.note("He sends Ada a link to the authorization endpoint, with his client id. She opens it.");

    browser.next_scene();
    browser.capture(ATTACKER_CALLBACK);
    let requests_before = actors.third_party.authorize_requests();
    let end = browser.open(&attacker.authorization_url()).await?;
    let third_party_requests = actors.third_party.authorize_requests().saturating_sub(requests_before);
    tell(actors, &browser, &mut story);

    let arrived = browser.captured().first().cloned();
    let code_arrived = arrived.as_ref().is_some_and(has_code);
    let victim_is_asked = asks_about_attacker(&end, &target.mcp_url(actors));
    let mut attacker_became = None;
    match arrived {
        Some(arrived) if code_arrived => {
            story.note("The code is in the attacker's hands. Ada saw no page and was asked nothing.");
            // What he cannot redeem is of no use to him: that is a fact, not a failure of the replay.
            if attacker.redeem(&arrived).await.is_ok() {
                attacker_became = attacker.whoami().await.ok();
            }
            story.messages(attacker.take_messages());
            if let Some(login) = &attacker_became {
                story.note(format!("The attacker works with {login}'s account."));
            }
        }
        _ if victim_is_asked => story.note(format!(
            "Here it stops. Ada reads \"{ATTACKER_HOST}\" and decides. The third party was not asked, no code exists."
        )),
        _ => story.note("The link led nowhere."),
    }
    Ok(Attack {
        story,
        facts: Facts { code_arrived, attacker_became, third_party_requests, victim_is_asked },
    })
}

/// An honest client, from its URL to `whoami`. Ada approves whatever she is asked.
async fn connect(
    actors: &Actors,
    target: Target,
    browser: &mut Browser,
    story: &mut Story,
) -> Result<McpClient, ReplayError> {
    let cast = actors.cast();
    let mut app =
        McpClient::connect("Ada's app", "Ada's app", &target.mcp_url(actors), HONEST_CALLBACK, &cast).await?;
    story.messages(app.take_messages());
    story.note("The app opens Ada's browser.");
    browser.capture(HONEST_CALLBACK);
    let page = browser.open(&app.authorization_url()).await?;
    let end = agree(browser, page).await?;
    tell(actors, browser, story);
    story.note("The app takes the code that arrived at its address.");
    app.redeem(&end.url).await?;
    app.tools().await?;
    app.whoami().await?;
    story.messages(app.take_messages());
    Ok(app)
}

/// Presses what a person presses who agrees, page by page, until an app's address is reached.
pub async fn agree(browser: &mut Browser, mut page: Page) -> Result<Page, ReplayError> {
    for _ in 0..MOST_PAGES {
        if page.captured {
            return Ok(page);
        }
        let labels = page.forms().into_iter().flat_map(|form| form.buttons).map(|button| button.label);
        let known = |label: &String| {
            ["Approve", "Sign in as Ada", "Authorize"].iter().any(|known| label.contains(known))
        };
        let label = labels.into_iter().find(known).ok_or_else(|| ReplayError::Stuck(page.title()))?;
        page = browser.press(&page, &label).await?;
    }
    Err(ReplayError::Stuck(page.title()))
}

/// Adds what the browser did, and what follows from it.
fn tell(actors: &Actors, browser: &Browser, story: &mut Story) {
    let cast = actors.cast();
    let naive_callback = format!("{}/callback", actors.naive_proxy.origin());
    let callback = format!("{}/callback/", actors.origin());
    for hop in browser.hops() {
        story.hop(&cast, hop);
        let skipped = hop.url.starts_with(&actors.third_party.authorization_endpoint())
            && matches!(hop.outcome, super::browser::transcript::Outcome::Redirect { .. });
        if skipped {
            story
                .note("The third party remembers that Ada agreed to this static client, and skips its page.");
        }
        if hop.url.starts_with(&naive_callback) {
            story.note(
                "The naive proxy exchanges the third party's code for a token, and makes a code of its own.",
            );
        }
        if hop.url.starts_with(&callback) {
            story.note(
                "mcp-deputy exchanges the third party's code for a token, and makes a code of its own.",
            );
        }
    }
}

fn has_code(arrived: &Url) -> bool {
    arrived.query_pairs().any(|(name, value)| name == "code" && !value.is_empty())
}

/// Whether `page` is at the proxy itself, asks for approval, and says where the answer would go.
fn asks_about_attacker(page: &Page, mcp_url: &str) -> bool {
    let at_proxy = Url::parse(mcp_url).is_ok_and(|proxy| proxy.origin() == page.url.origin());
    let asks = page.forms().iter().any(|form| {
        form.post
            && form.action == "/consent"
            && form.buttons.iter().any(|button| button.label.contains("Approve"))
    });
    !page.captured && at_proxy && asks && page.body.contains(ATTACKER_HOST)
}

#[cfg(test)]
mod tests {
    use super::{Facts, judge};

    fn leaked() -> Facts {
        Facts {
            code_arrived: true,
            attacker_became: Some("ada".into()),
            third_party_requests: 1,
            victim_is_asked: false,
        }
    }

    fn stopped() -> Facts {
        Facts { code_arrived: false, attacker_became: None, third_party_requests: 0, victim_is_asked: true }
    }

    fn failing(naive: &Facts, deputy: &Facts) -> Vec<usize> {
        let verdicts = judge(naive, deputy);
        (0..verdicts.len()).filter(|n| !verdicts[*n].holds).collect()
    }

    #[test]
    fn every_claim_can_fail_alone() {
        assert_eq!(failing(&leaked(), &stopped()), Vec::<usize>::new());
        assert_eq!(failing(&Facts { code_arrived: false, ..leaked() }, &stopped()), [0]);
        assert_eq!(failing(&Facts { attacker_became: None, ..leaked() }, &stopped()), [1]);
        let other = Some("grace".to_owned());
        assert_eq!(failing(&Facts { attacker_became: other.clone(), ..leaked() }, &stopped()), [1]);
        assert_eq!(failing(&leaked(), &Facts { code_arrived: true, ..stopped() }), [2]);
        assert_eq!(failing(&leaked(), &Facts { attacker_became: other, ..stopped() }), [2]);
        assert_eq!(failing(&leaked(), &Facts { victim_is_asked: false, ..stopped() }), [3]);
        assert_eq!(failing(&leaked(), &Facts { third_party_requests: 1, ..stopped() }), [4]);
    }

    #[test]
    fn with_the_proxies_swapped_everything_fails() {
        assert_eq!(failing(&stopped(), &leaked()), [0, 1, 2, 3, 4]);
    }
}
