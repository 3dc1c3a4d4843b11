//! Who sent what to whom, as a story for people: lines for the terminal, a list for the attack page.
//!
//! Takes the hops of a scripted browser and the calls of a scripted MCP client, which hold no secret values, and gives
//! the actors names instead of addresses. A note says what cannot be seen in a request. It decides nothing.

use std::fmt;

use url::Url;

use super::browser::transcript::{Hop, Outcome, redact};

/// Parameters that are the same in every honest and dishonest request.
const DULL: [&str; 3] = ["code_challenge", "code_challenge_method", "response_type"];

/// Which origin belongs to which actor.
#[derive(Clone, Debug)]
pub struct Cast(Vec<(String, &'static str)>);

/// One entry of a story.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Entry {
    /// A new scene begins.
    Scene(String),
    /// A request and its answer.
    Message(Message),
    /// What else there is to know.
    Note(String),
}

/// A request and its answer, without secret values.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Message {
    /// Who sent the request.
    pub from: String,
    /// To whom.
    pub to: String,
    /// What was sent.
    pub request: String,
    /// What came back.
    pub answer: String,
}

/// A sequence of scenes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Story {
    entries: Vec<Entry>,
}

impl Cast {
    /// Names the actors at these origins.
    pub fn new(actors: impl IntoIterator<Item = (String, &'static str)>) -> Self {
        Self(actors.into_iter().collect())
    }

    /// The actor at `url`, or its host.
    pub fn name(&self, url: &Url) -> String {
        let origin = url.origin().ascii_serialization();
        let known = self.0.iter().find(|(known, _)| *known == origin);
        known.map_or_else(|| url.host_str().unwrap_or("?").to_owned(), |(_, name)| (*name).to_owned())
    }

    /// The path of `url` with the parameters that tell something.
    pub fn path(url: &Url) -> String {
        let mut told = url.clone();
        let telling = url.query_pairs().filter(|(name, _)| !DULL.contains(&name.as_ref()));
        told.query_pairs_mut().clear().extend_pairs(telling);
        let shown = redact(&told);
        let origin = url.origin().ascii_serialization();
        shown.strip_prefix(&origin).map_or_else(|| shown.clone(), ToOwned::to_owned)
    }

    fn place(&self, url: &str) -> String {
        Url::parse(url)
            .map_or_else(|_| url.to_owned(), |url| format!("{} {}", self.name(&url), Self::path(&url)))
    }

    fn message(&self, hop: &Hop) -> Message {
        let (to, path) = Url::parse(&hop.url)
            .map_or_else(|_| (hop.url.clone(), String::new()), |url| (self.name(&url), Self::path(&url)));
        let form = if hop.form.is_empty() { String::new() } else { format!(" [{}]", hop.form.join(", ")) };
        let answer = match &hop.outcome {
            Outcome::Captured => "delivered".to_owned(),
            Outcome::Failed => "no answer".to_owned(),
            Outcome::Page { status, title } => format!("{status}, a page: \"{title}\""),
            Outcome::Redirect { status, location } => format!("{status}, go to {}", self.place(location)),
        };
        Message { from: hop.browser.clone(), to, request: format!("{} {path}{form}", hop.method), answer }
    }
}

impl Story {
    /// Begins a scene.
    pub fn scene(&mut self, title: &str) {
        self.entries.push(Entry::Scene(title.to_owned()));
    }

    /// Adds a note.
    pub fn note(&mut self, text: impl Into<String>) {
        self.entries.push(Entry::Note(text.into()));
    }

    /// Adds what a browser did.
    pub fn hop(&mut self, cast: &Cast, hop: &Hop) {
        self.entries.push(Entry::Message(cast.message(hop)));
    }

    /// Adds what a client sent.
    pub fn messages(&mut self, messages: impl IntoIterator<Item = Message>) {
        self.entries.extend(messages.into_iter().map(Entry::Message));
    }

    /// Everything, in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut number = 0;
        for entry in &self.entries {
            match entry {
                Entry::Scene(title) => writeln!(f, "\n  {title}")?,
                Entry::Note(text) => writeln!(f, "      * {text}")?,
                Entry::Message(Message { from, to, request, answer }) => {
                    number += 1;
                    writeln!(f, "  {number:2}. {from} -> {to}: {request}")?;
                    writeln!(f, "      = {answer}")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Cast, Hop, Outcome, Story};

    #[test]
    fn actors_have_names_and_secrets_have_none() {
        let cast = Cast::new([("http://localhost:9".to_owned(), "third party")]);
        let hop = Hop {
            browser: "Ada's browser".into(),
            method: "GET".into(),
            url: "http://localhost:9/authorize?client_id=x&state=…".into(),
            form: Vec::new(),
            cookies_sent: Vec::new(),
            cookies_set: Vec::new(),
            outcome: Outcome::Redirect {
                status: 302, location: "https://attacker.example/cb?code=…".into()
            },
        };
        let mut story = Story::default();
        story.hop(&cast, &hop);
        assert_eq!(
            story.to_string(),
            "   1. Ada's browser -> third party: GET /authorize?client_id=x&state=…\n\
             \x20     = 302, go to attacker.example /cb?code=…\n"
        );
    }
}
