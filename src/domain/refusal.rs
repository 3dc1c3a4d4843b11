//! Refusals: outcomes of the protocol, as values.
//!
//! A refusal has a code for the client (RFC 6749 and its extensions), a fixed public text, and a private reason: a stable
//! slug for the log. None of them ever carries a stranger's bytes. Who sees it (a page, a redirect, JSON, a challenge) is
//! decided by where it occurs: `web::reply` maps them all.

/// The registered error codes that we use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ErrorCode {
    /// The person said no (RFC 6749 section 4.1.2.1).
    AccessDenied,
    /// Client authentication failed (RFC 6749 section 5.2).
    InvalidClient,
    /// Registration metadata is wrong (RFC 7591 section 3.2.2).
    InvalidClientMetadata,
    /// A code or refresh token that is unknown, expired, used or another client's (RFC 6749 section 5.2).
    InvalidGrant,
    /// A redirect URI cannot be registered (RFC 7591 section 3.2.2).
    InvalidRedirectUri,
    /// Something is missing, repeated or malformed.
    InvalidRequest,
    /// A scope that is unknown, malformed or more than was granted.
    InvalidScope,
    /// A resource that we do not serve (RFC 8707 section 2).
    InvalidTarget,
    /// An access token that is not good here (RFC 6750 section 3.1).
    InvalidToken,
    /// A request object, which we do not read (OpenID Connect Core section 6).
    RequestNotSupported,
    /// Something failed inside.
    ServerError,
    /// Try again later.
    TemporarilyUnavailable,
    /// Not one of our grant types.
    UnsupportedGrantType,
    /// Not `code`.
    UnsupportedResponseType,
}

impl ErrorCode {
    /// The code as it is sent.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AccessDenied => "access_denied",
            Self::InvalidClient => "invalid_client",
            Self::InvalidClientMetadata => "invalid_client_metadata",
            Self::InvalidGrant => "invalid_grant",
            Self::InvalidRedirectUri => "invalid_redirect_uri",
            Self::InvalidRequest => "invalid_request",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::InvalidToken => "invalid_token",
            Self::RequestNotSupported => "request_not_supported",
            Self::ServerError => "server_error",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::UnsupportedResponseType => "unsupported_response_type",
        }
    }
}

/// A protocol outcome that is not success.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// What the client is told.
    pub code: ErrorCode,
    /// A stable slug for the log; never sent.
    pub reason: &'static str,
    /// A fixed sentence for the developer of the client, in the characters of RFC 6749 section 5.2.
    pub text: &'static str,
}

impl Refusal {
    /// A refusal with its code, private reason and public text.
    pub const fn new(code: ErrorCode, reason: &'static str, text: &'static str) -> Self {
        Self { code, reason, text }
    }

    /// The one answer to every code or refresh token that is not good: it tells nothing about why.
    pub const fn invalid_grant(reason: &'static str) -> Self {
        Self::new(ErrorCode::InvalidGrant, reason, "The code or refresh token is not valid, or not any more.")
    }

    /// Client authentication failed, or there is no such client.
    pub const fn invalid_client(reason: &'static str) -> Self {
        Self::new(ErrorCode::InvalidClient, reason, "Unknown client, or wrong client credentials.")
    }
}
