//! Reading a request's body and what it claims to be.
//!
//! Everything that our own endpoints read comes through here: at most 64 KiB, in a bounded time, of exactly the media
//! type that the endpoint speaks. Bodies of requests to an MCP server are not read here, nor anywhere: the data plane
//! passes them on as they come.
//!
//! Must never guess: a body without a media type, or with two, is refused.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, header::CONTENT_TYPE};
use http_body::Body;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::time::timeout;

use crate::domain::refusal::{ErrorCode, Refusal};

/// The largest body of a request to one of our own endpoints, in bytes.
pub const MAX_BODY: usize = 64 * 1024;

/// The media type of forms (RFC 6749 appendix B).
pub const FORM: &str = "application/x-www-form-urlencoded";
/// The media type of registrations (RFC 7591 section 3.1).
pub const JSON: &str = "application/json";

/// The body is larger than [`MAX_BODY`].
pub const BODY_TOO_LARGE: Refusal =
    Refusal::new(ErrorCode::InvalidRequest, "body_too_large", "The body is larger than 64 KiB.");
/// The body did not come in time.
pub const BODY_SLOW: Refusal =
    Refusal::new(ErrorCode::InvalidRequest, "body_slow", "The body did not arrive in time.");

/// The client broke off.
pub const BODY_BROKEN: Refusal =
    Refusal::new(ErrorCode::InvalidRequest, "body_broken", "The body did not arrive completely.");
const NOT_A_FORM: Refusal = Refusal::new(
    ErrorCode::InvalidRequest,
    "content_type_wrong",
    "The Content-Type must be application/x-www-form-urlencoded.",
);
const NOT_JSON: Refusal = Refusal::new(
    ErrorCode::InvalidRequest,
    "content_type_wrong",
    "The Content-Type must be application/json.",
);

/// The whole body of a form.
pub async fn form<B>(headers: &HeaderMap, body: B, patience: Duration) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if !is(headers, FORM) {
        return Err(NOT_A_FORM);
    }
    whole(body, patience).await
}

/// The whole body of a JSON document. It is not parsed here.
pub async fn json<B>(headers: &HeaderMap, body: B, patience: Duration) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if !is(headers, JSON) {
        return Err(NOT_JSON);
    }
    whole(body, patience).await
}

/// Whether there is exactly one `Content-Type`, and it is `media_type`; its parameters (`charset`) do not matter.
fn is(headers: &HeaderMap, media_type: &str) -> bool {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case(media_type)
}

async fn whole<B>(body: B, patience: Duration) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if body.size_hint().lower() > MAX_BODY as u64 {
        return Err(BODY_TOO_LARGE);
    }
    let collecting = timeout(patience, Limited::new(body, MAX_BODY).collect());
    match collecting.await.map_err(|_| BODY_SLOW)? {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(BODY_TOO_LARGE),
        Err(_) => Err(BODY_BROKEN),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http_body::Frame;
    use http_body_util::Full;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    fn typed(values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (CONTENT_TYPE, HeaderValue::from_static(value))).collect()
    }

    #[tokio::test]
    async fn only_the_exact_media_type_is_read() {
        for (values, accepted) in [
            (&["application/x-www-form-urlencoded"][..], true),
            (&["Application/X-WWW-Form-Urlencoded; charset=UTF-8"], true),
            (&["application/x-www-form-urlencoded;foo"], true),
            (&[], false),
            (&["application/json"], false),
            (&["multipart/form-data; boundary=x"], false),
            (&["text/plain; application/x-www-form-urlencoded"], false),
            (&["application/x-www-form-urlencodedx"], false),
            (&["application/x-www-form-urlencoded", "application/x-www-form-urlencoded"], false),
        ] {
            let read = form(&typed(values), Full::new(Bytes::from_static(b"a=b")), PATIENCE).await;
            assert_eq!(read.is_ok(), accepted, "{values:?}");
        }
        assert!(
            json(&typed(&["application/json"]), Full::new(Bytes::from_static(b"{}")), PATIENCE).await.is_ok()
        );
        assert!(json(&typed(&[FORM]), Full::new(Bytes::new()), PATIENCE).await.is_err());
    }

    #[tokio::test]
    async fn a_large_body_is_refused_with_and_without_a_length() {
        let headers = typed(&[JSON]);
        let exact = Full::new(Bytes::from(vec![b'x'; MAX_BODY]));
        assert_eq!(json(&headers, exact, PATIENCE).await.unwrap().len(), MAX_BODY);
        let long = Full::new(Bytes::from(vec![b'x'; MAX_BODY + 1]));
        assert_eq!(json(&headers, long, PATIENCE).await, Err(BODY_TOO_LARGE));
        let pieces = (0..=MAX_BODY / 1024).map(|_| Ok(Frame::data(Bytes::from(vec![b'x'; 1024]))));
        let chunked = Pieces(pieces.collect::<Vec<Result<_, std::io::Error>>>().into_iter());
        assert_eq!(json(&headers, chunked, PATIENCE).await, Err(BODY_TOO_LARGE));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_or_breaks_off_is_refused() {
        let headers = typed(&[JSON]);
        assert_eq!(json(&headers, Silent, PATIENCE).await, Err(BODY_SLOW));
        let broken = vec![Ok(Frame::data(Bytes::from_static(b"{"))), Err(std::io::Error::other("reset"))];
        let broken = Pieces(broken.into_iter());
        assert_eq!(json(&headers, broken, PATIENCE).await.unwrap_err().reason, "body_broken");
    }

    struct Silent;

    impl Body for Silent {
        type Data = Bytes;
        type Error = std::io::Error;

        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            std::task::Poll::Pending
        }
    }

    /// An iterator as a body.
    struct Pieces(std::vec::IntoIter<Result<Frame<Bytes>, std::io::Error>>);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = std::io::Error;

        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            std::task::Poll::Ready(self.0.next())
        }
    }
}
