//! How the simulated third party behaves, and how it misbehaves when a test wants that.
//!
//! The default is the behaviour of a GitHub OAuth app as seen from outside. Every deviation is one field, and the
//! whole value can be replaced while the third party runs.

use std::time::Duration;

use super::Person;

/// What the third party does. Replaced at any time with [`super::ThirdParty::behave`].
#[derive(Clone, Debug, Default)]
pub struct Behaviour {
    /// The `iss` parameter of authorization responses (RFC 9207).
    pub iss: Iss,
    /// Access tokens expire after this time and come with single-use refresh tokens. `None`: they never expire.
    pub expiring: Option<Duration>,
    /// Refresh tokens are answered with `bad_refresh_token`.
    pub refuse_refresh: bool,
    /// How the token endpoint answers at all.
    pub token_endpoint: Health,
    /// How the API answers at all.
    pub api: Health,
    /// How the revocation endpoints answer at all.
    pub revocation: Health,
    /// Which scopes a token gets.
    pub granted: Granted,
    /// The media type of token answers.
    pub answer_format: AnswerFormat,
    /// The status of error answers at the token endpoint.
    pub error_status: ErrorStatus,
    /// How `expires_in` is written.
    pub expires_in: ExpiresIn,
    /// Leaves out `token_type`.
    pub omit_token_type: bool,
    /// Leaves out `scope` (RFC 6749 section 5.1: then it is as requested).
    pub omit_scope: bool,
    /// Who is logged in at the next authorization request, whoever was before: an account switch.
    pub next_person: Option<&'static Person>,
    /// Who belongs to which organization, by login and the organization's id.
    pub members: Vec<(&'static str, u64)>,
    /// How many tokens one person may have per client and scope set before the oldest dies. `None`: ten, as at GitHub.
    pub live_tokens: Option<usize>,
}

/// What authorization responses say about their issuer.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Iss {
    /// Nothing.
    Absent,
    /// The truth.
    #[default]
    Correct,
    /// Something else.
    Wrong(String),
}

/// Whether an endpoint works.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Health {
    /// Takes the request and never answers.
    Hang,
    /// Closes the connection without an answer.
    HangUp,
    /// As documented.
    #[default]
    Normal,
    /// 500 with a page of HTML.
    ServerError,
}

/// Which scopes a token gets, compared with those that were asked for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Granted {
    /// The same.
    #[default]
    AsAsked,
    /// Exactly these, narrower or wider.
    Exactly(Vec<String>),
}

/// The media type of token answers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum AnswerFormat {
    /// Form-encoded, whatever the caller accepts.
    AlwaysForm,
    /// JSON, whatever the caller accepts.
    AlwaysJson,
    /// JSON for callers that accept it, else form-encoded.
    #[default]
    ByAccept,
}

/// The status of error answers at the token endpoint.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ErrorStatus {
    /// 200, with `error` in the body.
    #[default]
    Ok,
    /// 400 or 401 (RFC 6749 section 5.2).
    Standard,
}

/// How `expires_in` is written in JSON.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ExpiresIn {
    /// `3600`
    #[default]
    Number,
    /// `"3600"`
    Text,
}
