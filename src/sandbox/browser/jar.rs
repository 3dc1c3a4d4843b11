//! A cookie jar with the rules of RFC 6265bis that matter here: cookies belong to a host *without* its port, have a
//! path, and are `SameSite=Lax` unless they say otherwise.

use cookie::{Cookie, SameSite};
use url::Url;

/// The cookies of one browser.
#[derive(Clone, Debug, Default)]
pub struct Jar {
    cookies: Vec<Kept>,
}

#[derive(Clone)]
struct Kept {
    host: String,
    path: String,
    name: String,
    value: String,
    /// Sent with cross-site POSTs too.
    unrestricted: bool,
    strict: bool,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} for {}{}", self.name, self.host, self.path)
    }
}

/// How a request came about, as far as cookies care.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sending {
    /// Another site caused the request.
    pub cross_site: bool,
    /// It is a GET.
    pub safe: bool,
}

impl Jar {
    /// Applies one `Set-Cookie` line of an answer from `url`. Returns the name if the cookie was kept or deleted.
    pub fn set(&mut self, url: &Url, line: &str) -> Option<String> {
        let cookie = Cookie::parse(line).ok()?;
        let host = url.host_str()?.to_owned();
        let path = cookie
            .path()
            .filter(|path| path.starts_with('/'))
            .map_or_else(|| default_path(url), ToOwned::to_owned);
        // `__Host-` demands Secure, Path=/ and no Domain; Secure itself is accepted on loopback, as in Chromium.
        let host_prefix = cookie.name().to_ascii_lowercase().starts_with("__host-");
        if host_prefix && !(cookie.secure() == Some(true) && path == "/" && cookie.domain().is_none()) {
            return None;
        }
        let name = cookie.name().to_owned();
        self.cookies.retain(|kept| (&kept.host, &kept.path, &kept.name) != (&host, &path, &name));
        let over = cookie.max_age().is_some_and(|age| !age.is_positive());
        if !over {
            self.cookies.push(Kept {
                host,
                path,
                name: name.clone(),
                value: cookie.value().to_owned(),
                unrestricted: cookie.same_site() == Some(SameSite::None),
                strict: cookie.same_site() == Some(SameSite::Strict),
            });
        }
        Some(name)
    }

    /// Puts a cookie for a whole host, as if it had been set in an earlier visit.
    pub fn plant(&mut self, url: &Url, name: &str, value: &str) {
        self.set(url, &format!("{name}={value}; Path=/"));
    }

    /// Names and values that a request to `url` carries.
    pub fn for_request(&self, url: &Url, sending: Sending) -> Vec<(&str, &str)> {
        let fits = |kept: &&Kept| {
            Some(kept.host.as_str()) == url.host_str()
                && path_matches(url.path(), &kept.path)
                && (!sending.cross_site || kept.unrestricted || (sending.safe && !kept.strict))
        };
        self.cookies.iter().filter(fits).map(|kept| (kept.name.as_str(), kept.value.as_str())).collect()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.cookies.clear();
    }

    /// Every value, for tests that look for leaks.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.cookies.iter().map(|kept| kept.value.as_str())
    }
}

fn default_path(url: &Url) -> String {
    match url.path().rsplit_once('/') {
        Some((folder, _)) if !folder.is_empty() => folder.to_owned(),
        _ => "/".to_owned(),
    }
}

fn path_matches(path: &str, kept: &str) -> bool {
    path.strip_prefix(kept)
        .is_some_and(|rest| kept.ends_with('/') || rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::{Jar, Sending};

    const TYPED: Sending = Sending { cross_site: false, safe: true };

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn names(jar: &Jar, to: &str, sending: Sending) -> Vec<String> {
        jar.for_request(&url(to), sending).into_iter().map(|(name, _)| name.to_owned()).collect()
    }

    #[test]
    fn cookies_know_hosts_and_paths_but_no_ports() {
        let mut jar = Jar::default();
        jar.set(&url("http://127.0.0.1:1/a/b"), "ticket=1; Path=/callback/github");
        jar.set(&url("http://127.0.0.1:1/"), "render=1; Path=/; Secure");
        assert_eq!(names(&jar, "http://127.0.0.1:2/callback/github?x", TYPED), ["ticket", "render"]);
        assert_eq!(names(&jar, "http://127.0.0.1:1/callback/githubber", TYPED), ["render"]);
        assert!(names(&jar, "http://localhost:1/", TYPED).is_empty());
        jar.set(&url("http://127.0.0.1:1/"), "render=; Path=/; Max-Age=0");
        assert!(names(&jar, "http://127.0.0.1:1/", TYPED).is_empty());
    }

    #[test]
    fn lax_cookies_stay_at_home_when_another_site_posts() {
        let mut jar = Jar::default();
        jar.set(&url("http://127.0.0.1/"), "lax=1");
        jar.set(&url("http://127.0.0.1/"), "none=1; SameSite=None; Secure");
        jar.set(&url("http://127.0.0.1/"), "strict=1; SameSite=Strict");
        let posted = Sending { cross_site: true, safe: false };
        assert_eq!(names(&jar, "http://127.0.0.1/", posted), ["none"]);
        let followed = Sending { cross_site: true, safe: true };
        assert_eq!(names(&jar, "http://127.0.0.1/", followed), ["lax", "none"]);
    }

    #[test]
    fn a_host_prefix_without_its_conditions_is_refused() {
        let mut jar = Jar::default();
        assert_eq!(jar.set(&url("http://127.0.0.1/"), "__Host-x=1; Path=/"), None);
        assert_eq!(
            jar.set(&url("http://127.0.0.1/"), "__Host-x=1; Path=/; Secure").as_deref(),
            Some("__Host-x")
        );
    }
}
