//! How single values look: each function takes what was written and gives the value or what it must be instead.

use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use url::Url;

use crate::config::error::Refused;
use crate::config::file::{Amount, Written};
use crate::domain::origin::is_loopback_host;

/// Reads one written text. `read` fails with what follows the key's name in the sentence: "must be …".
pub(super) fn parse<T, E: Display>(
    name: &str,
    written: &Written<String>,
    read: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, Refused> {
    read(&written.value).map_err(|error| Refused::at(written.place, format!("{name} {error}")))
}

/// Reads a written list of texts; none written is the empty list.
pub(super) fn list<T, E: Display>(
    name: &str,
    written: Option<&Written<Vec<String>>>,
    read: impl Fn(&str) -> Result<T, E>,
) -> Result<Vec<T>, Refused> {
    let Some(written) = written else { return Ok(Vec::new()) };
    let values = written.value.iter().map(|text| read(text));
    values.collect::<Result<_, E>>().map_err(|error| Refused::at(written.place, format!("{name} {error}")))
}

/// The same for a list that narrows something down: left out it lets everybody through, and so would an empty one, which
/// looks as if it let nobody through.
pub(super) fn narrowing<T, E: Display>(
    name: &str,
    written: Option<&Written<Vec<String>>>,
    read: impl Fn(&str) -> Result<T, E>,
) -> Result<Vec<T>, Refused> {
    if let Some(written) = written.filter(|written| written.value.is_empty()) {
        let sentence =
            format!("{name} is empty, which would narrow nothing down; name somebody, or leave it out");
        return Err(Refused::at(written.place, sentence));
    }
    list(name, written, read)
}

/// One of a few words.
pub(super) fn choice<T: Copy>(
    name: &str,
    written: Option<&Written<String>>,
    default: T,
    options: &[(&str, T)],
) -> Result<T, Refused> {
    let Some(written) = written else { return Ok(default) };
    parse(name, written, |text| {
        let found = options.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        found.ok_or_else(|| {
            let words: Vec<_> = options.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            format!("must be {}", words.join(" or "))
        })
    })
}

/// A duration within bounds, which are written as durations too; both ends belong to them.
pub(super) fn duration(
    name: &str,
    written: Option<&Written<String>>,
    default: Duration,
    bounds: Range<&str>,
) -> Result<Duration, Refused> {
    let Some(written) = written else { return Ok(default) };
    parse(name, written, |text| {
        let within = |end: &str| humantime::parse_duration(end).unwrap_or_default();
        match humantime::parse_duration(text) {
            Err(_) => Err("must be a duration, such as 90s, 15m, 1h or 30d".to_owned()),
            Ok(value) if (within(bounds.start)..=within(bounds.end)).contains(&value) => Ok(value),
            Ok(_) => Err(format!("must be between {} and {}", bounds.start, bounds.end)),
        }
    })
}

/// A number, or a size such as `16MiB`, within bounds.
pub(super) fn amount<T: TryFrom<u64>>(
    name: &str,
    written: Option<&Written<Amount>>,
    default: T,
    bounds: RangeInclusive<u64>,
) -> Result<T, Refused> {
    let Some(Written { value: Amount(text), place }) = written else { return Ok(default) };
    let refuse = || format!("{name} must be a number between {} and {}", bounds.start(), bounds.end());
    let number =
        number(text).filter(|number| bounds.contains(number)).and_then(|number| T::try_from(number).ok());
    number.ok_or_else(|| Refused::at(*place, refuse()))
}

fn number(text: &str) -> Option<u64> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at_checked(unit_at)?;
    let factor = match unit.trim() {
        "" | "B" => 1,
        "KiB" => 1024,
        "MiB" => 1024 * 1024,
        "GiB" => 1024 * 1024 * 1024,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// A URL of http or https as it is meant, not as a lenient parser would repair it.
pub(super) fn web_url(text: &str) -> Result<Url, &'static str> {
    const MUST: &str = "must be a URL of https or http";
    if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\') {
        return Err("must not contain white space or backslashes");
    }
    let url = Url::parse(text).map_err(|_| MUST)?;
    if !matches!(url.scheme(), "http" | "https") || !text.contains("://") {
        return Err(MUST);
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err("must not contain user information or a fragment");
    }
    Ok(url)
}

/// A URL at which secrets are handed over: https, or http on a loopback host.
pub(super) fn endpoint(text: &str) -> Result<Url, &'static str> {
    let url = web_url(text)?;
    if url.scheme() == "https" || url.host().as_ref().is_some_and(is_loopback_host) {
        Ok(url)
    } else {
        Err("must be https; http is for loopback hosts only")
    }
}

/// A scope (RFC 6749 §3.3: printable ASCII without space, quote and backslash).
pub(super) fn scope(text: &str) -> Result<String, &'static str> {
    let is_token = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    if text.is_empty() || !text.bytes().all(is_token) {
        return Err("must be a scope: printable ASCII without spaces, quotes and backslashes");
    }
    Ok(text.to_owned())
}

/// A text for people: something to read, on one line, not a novel.
pub(super) fn words(text: &str) -> Result<String, &'static str> {
    if text.trim().is_empty() || text.chars().any(char::is_control) || text.chars().count() > 200 {
        return Err("must be one line of 1 to 200 characters");
    }
    Ok(text.to_owned())
}

/// A host, or `*.` and a host for all below it, as the hosts of URLs are written: lower case, in ASCII. `localhost` is the
/// only one of one label.
pub(super) fn domain(text: &str) -> Result<String, &'static str> {
    const MUST: &str =
        "must be host names in lower case such as \"example.com\" or \"*.example.com\", or \"localhost\"";
    if text == "localhost" {
        return Ok(text.to_owned());
    }
    let name = text.strip_prefix("*.").unwrap_or(text);
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
    };
    if !name.contains('.') || !name.split('.').all(label) {
        return Err(MUST);
    }
    Ok(text.to_owned())
}

/// Host and port of a proxy that is spoken to in plain HTTP.
pub(super) fn http_proxy(text: &str) -> Result<String, &'static str> {
    const MUST: &str =
        "must be a URL such as \"http://proxy.internal:3128\", without path, user and password";
    let url = web_url(text).map_err(|_| MUST)?;
    if url.scheme() != "http" || url.path() != "/" || url.query().is_some() {
        return Err(MUST);
    }
    let host = url.host_str().ok_or(MUST)?;
    Ok(format!("{host}:{}", url.port_or_known_default().unwrap_or(80)))
}

/// A private-use scheme (RFC 8252 §7.1), lower case, without `:`.
pub(super) fn private_use_scheme(text: &str) -> Result<String, &'static str> {
    // Schemes that browsers run, read or resolve themselves: none of them leads to a native app.
    const NEVER: &[&str] = &[
        "about",
        "blob",
        "data",
        "file",
        "filesystem",
        "ftp",
        "http",
        "https",
        "javascript",
        "vbscript",
        "view-source",
        "ws",
        "wss",
    ];
    let mut bytes = text.bytes();
    let begins = bytes.next().is_some_and(|byte| byte.is_ascii_lowercase());
    if !begins
        || !bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.'))
    {
        return Err("must be names of schemes in lower case, such as cursor");
    }
    if NEVER.contains(&text) {
        return Err("must be private-use schemes of native apps, such as cursor");
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_units() {
        for (text, value) in [
            ("0", Some(0)),
            ("1024", Some(1024)),
            ("64KiB", Some(65_536)),
            ("16 MiB", Some(16_777_216)),
            ("1GiB", Some(1_073_741_824)),
            ("16MB", None),
            ("MiB", None),
            ("", None),
            ("-1", None),
            ("99999999999GiB", None),
        ] {
            assert_eq!(number(text), value, "{text}");
        }
    }

    #[test]
    fn endpoints_are_https_or_loopback() {
        for good in ["https://a.example/x?y=z", "http://127.0.0.1:1/x", "http://localhost", "http://[::1]:1/"]
        {
            assert!(endpoint(good).is_ok(), "{good}");
        }
        for bad in [
            "http://a.example/x",
            "https:/a.example",
            "https://a.example/\tx",
            "https:\\\\a.example",
            "https://me:secret@a.example/",
            "https://a.example/#x",
            "ftp://a.example/",
            "/x",
            "",
        ] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn scopes_are_tokens() {
        assert!(scope("repo:read").is_ok());
        for bad in ["", "a b", "a\"b", "a\\b", "ä", "a\n"] {
            assert!(scope(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn schemes_that_run_in_the_browser_are_no_private_use_schemes() {
        assert!(private_use_scheme("cursor").is_ok());
        assert!(private_use_scheme("com.example.app").is_ok());
        for bad in ["javascript", "data", "https", "Cursor", "cursor://", "", "1password"] {
            assert!(private_use_scheme(bad).is_err(), "{bad}");
        }
    }
}
