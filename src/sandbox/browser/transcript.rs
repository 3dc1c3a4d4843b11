//! Who sent what to whom, without secret values: the story that the replay prints and the attack page shows.

use std::fmt;

use url::Url;

/// Parameters whose values may be shown. Everything else is shown by its name.
const PUBLIC: [&str; 12] = [
    "client_id",
    "client_name",
    "code_challenge_method",
    "decision",
    "error",
    "grant_type",
    "iss",
    "login",
    "redirect_uri",
    "resource",
    "response_type",
    "scope",
];

/// One request of a browser and what came of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hop {
    /// Whose browser.
    pub browser: String,
    /// `GET` or `POST`.
    pub method: String,
    /// The target, with secret values replaced.
    pub url: String,
    /// The names of the form fields; of public ones the value too.
    pub form: Vec<String>,
    /// The names of the cookies that were sent.
    pub cookies_sent: Vec<String>,
    /// The names of the cookies that the answer set.
    pub cookies_set: Vec<String>,
    /// What came back.
    pub outcome: Outcome,
}

/// What came of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The target is marked as captured: it got the request, and nobody answered.
    Captured,
    /// Nobody answered.
    Failed,
    /// A page with this title.
    Page {
        /// The status code.
        status: u16,
        /// The text of `<title>`.
        title: String,
    },
    /// The browser is sent on.
    Redirect {
        /// The status code, 200 for a page that refreshes itself.
        status: u16,
        /// Whereto, with secret values replaced.
        location: String,
    },
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {} {}", self.browser, self.method, self.url)?;
        if !self.form.is_empty() {
            write!(f, " [{}]", self.form.join(", "))?;
        }
        match &self.outcome {
            Outcome::Captured => write!(f, " => delivered"),
            Outcome::Failed => write!(f, " => no answer"),
            Outcome::Page { status, title } => write!(f, " => {status} \"{title}\""),
            Outcome::Redirect { status, location } => write!(f, " => {status} to {location}"),
        }
    }
}

/// The URL with the values of all but public query parameters replaced, and without fragment and user information.
pub fn redact(url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_fragment(None);
    shown.set_query(None);
    // Both fail only for URLs that cannot have user information.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    let pairs = url.query_pairs().map(|(name, value)| pair(&name, &value)).collect::<Vec<_>>();
    let separator = if pairs.is_empty() { "" } else { "?" };
    format!("{shown}{separator}{}", pairs.join("&"))
}

/// `name=value` where the value may be shown, else `name=…`.
pub fn pair(name: &str, value: &str) -> String {
    let control = |c: char| c.is_control();
    let value = if PUBLIC.contains(&name) { value.replace(control, "") } else { "…".to_owned() };
    format!("{}={value}", name.replace(control, ""))
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::redact;

    #[test]
    fn secret_values_do_not_enter_a_transcript() {
        let url =
            Url::parse("http://me:pw@127.0.0.1:9/cb?code=SECRET&state=SECRET&iss=http://a&odd=SECRET#SECRET");
        assert_eq!(redact(&url.unwrap()), "http://127.0.0.1:9/cb?code=…&state=…&iss=http://a&odd=…");
    }
}
