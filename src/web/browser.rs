//! The four cookies of a browser, one job each: *render* ties a page and its POST together, *ticket* an approval and its
//! callback, *arrival* a callback and the second page, *session* says who this browser belongs to.
//!
//! All of them are opaque, `HttpOnly` and `SameSite=Lax`; over https also `Secure` under the `__Host-` prefix, which no
//! other host can set or widen. On http loopback neither exists, and cookies ignore ports: there each cookie gets the
//! narrowest path that does its job. Tickets and arrivals come one per approval, so that two tabs do not meet; their
//! names end in a suffix that sorts by age, and a ninth one pushes out the oldest.
//!
//! Knows names and attributes only. What a value is worth is decided where its hash is compared.

use std::{collections::BTreeMap, fmt, time::Duration};

use cookie::{Cookie, SameSite};
use http::{HeaderMap, HeaderValue, header::COOKIE};

use crate::domain::{
    arrival::ARRIVAL_TTL, handle::Handle, origin::Origin, person::BROWSER_TTL, ticket::TICKET_TTL,
};

/// The most tickets, and the most arrivals, of one browser.
pub const MAX_OF_A_KIND: usize = 8;

const MAX_SUFFIX: usize = 32;
/// How long the cookie of `web::mirror` is kept by whoever keeps it.
const MIRROR_TTL: Duration = Duration::from_secs(1);

/// How cookies are written here: by the scheme of `public_url`.
#[derive(Clone, Copy, Debug)]
pub struct Jar {
    is_https: bool,
}

impl Jar {
    /// The jar of this gateway.
    pub fn new(public_url: &Origin) -> Self {
        Self { is_https: public_url.is_https() }
    }

    /// The cookies of a request that are ours. Whatever does not parse is not there; neither is a name that comes with
    /// two different values, since nobody can tell which one is ours.
    pub fn read(self, headers: &HeaderMap) -> Cookies {
        let mut cookies = Cookies::default();
        let values = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        // A name that came with two values has none. One look-up for each cookie: a header can hold thousands.
        let mut seen: BTreeMap<&str, Option<&str>> = BTreeMap::new();
        for pair in values.flat_map(|value| value.split(';')) {
            let Some((name, value)) = pair.trim().split_once('=') else { continue };
            let Some(ours) = self.strip(name.trim_end()) else { continue };
            let value = value.trim();
            let known = seen.entry(ours).or_insert(Some(value));
            *known = known.filter(|known| *known == value);
        }
        // The newest first: their names sort last, and of very many only some are kept.
        for (name, value) in seen.into_iter().rev() {
            let Some(value) = value.filter(|value| !value.is_empty()).map(ToOwned::to_owned) else {
                continue;
            };
            match name.split_once('-') {
                None if name == "render" => cookies.render = Some(value),
                None if name == "session" => cookies.session = Some(value),
                Some(("ticket", suffix)) if is_suffix(suffix) => keep(&mut cookies.tickets, suffix, value),
                Some(("arrival", suffix)) if is_suffix(suffix) => keep(&mut cookies.arrivals, suffix, value),
                _ => {}
            }
        }
        cookies.tickets.sort_unstable();
        cookies.arrivals.sort_unstable();
        cookies
    }

    /// The render cookie. It ends with the browser's session: a page that is shown is never older.
    pub fn render(self, value: &Handle) -> HeaderValue {
        self.written("render", value.expose(), "/", None)
    }

    /// The session cookie.
    pub fn session(self, value: &Handle) -> HeaderValue {
        self.written("session", value.expose(), "/", Some(BROWSER_TTL))
    }

    /// A cookie that says nothing, written as all others: to see what is left of it (`web::mirror`).
    pub fn mirror(self) -> HeaderValue {
        self.written("mirror", "1", "/", Some(MIRROR_TTL))
    }

    /// Removes the session cookie.
    pub fn session_gone(self) -> HeaderValue {
        self.written("session", "", "/", Some(Duration::ZERO))
    }

    /// A ticket cookie for the callback of `provider`.
    pub fn ticket(self, provider: &str, suffix: &str, value: &Handle) -> HeaderValue {
        let path = self.narrowed(&format!("/callback/{provider}"));
        self.written(&format!("ticket-{suffix}"), value.expose(), &path, Some(TICKET_TTL))
    }

    /// An arrival cookie.
    pub fn arrival(self, suffix: &str, value: &Handle) -> HeaderValue {
        let path = self.narrowed("/arrival");
        self.written(&format!("arrival-{suffix}"), value.expose(), &path, Some(ARRIVAL_TTL))
    }

    /// Removes a ticket cookie.
    pub fn ticket_gone(self, provider: &str, suffix: &str) -> HeaderValue {
        let path = self.narrowed(&format!("/callback/{provider}"));
        self.written(&format!("ticket-{suffix}"), "", &path, Some(Duration::ZERO))
    }

    /// Removes an arrival cookie.
    pub fn arrival_gone(self, suffix: &str) -> HeaderValue {
        let path = self.narrowed("/arrival");
        self.written(&format!("arrival-{suffix}"), "", &path, Some(Duration::ZERO))
    }

    /// The name without what all of ours have in front.
    fn strip(self, name: &str) -> Option<&str> {
        name.strip_prefix(self.prefix())
    }

    fn prefix(self) -> &'static str {
        if self.is_https { "__Host-mcpd-" } else { "mcpd-" }
    }

    /// `__Host-` demands the path `/`.
    fn narrowed(self, path: &str) -> String {
        if self.is_https { "/".to_owned() } else { path.to_owned() }
    }

    fn written(self, name: &str, value: &str, path: &str, max_age: Option<Duration>) -> HeaderValue {
        let mut cookie = Cookie::build((format!("{}{name}", self.prefix()), value.to_owned()))
            .path(path.to_owned())
            .http_only(true)
            .secure(self.is_https)
            .same_site(SameSite::Lax)
            .build();
        let seconds = |age: Duration| i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
        cookie.set_max_age(max_age.map(|age| cookie::time::Duration::seconds(seconds(age))));
        // Names, values and paths are made here, of letters, digits and few signs: a header can always hold them.
        let mut header = HeaderValue::try_from(cookie.to_string())
            .unwrap_or_else(|_| HeaderValue::from_static("-=; Max-Age=0"));
        header.set_sensitive(true);
        header
    }
}

fn is_suffix(suffix: &str) -> bool {
    !suffix.is_empty()
        && suffix.len() <= MAX_SUFFIX
        && suffix.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn keep(list: &mut Vec<(String, String)>, suffix: &str, value: String) {
    if list.len() < 4 * MAX_OF_A_KIND && !list.iter().any(|(known, _)| known == suffix) {
        list.push((suffix.to_owned(), value));
    }
}

/// The cookies of ours that a request brought. Prints none of them.
#[derive(Default)]
pub struct Cookies {
    render: Option<String>,
    session: Option<String>,
    tickets: Vec<(String, String)>,
    arrivals: Vec<(String, String)>,
}

impl Cookies {
    /// The render cookie.
    pub fn render(&self) -> Option<String> {
        self.render.clone()
    }

    /// The session cookie.
    pub fn session(&self) -> Option<String> {
        self.session.clone()
    }

    /// Ticket cookies, suffix and value, oldest first.
    pub fn tickets(&self) -> &[(String, String)] {
        &self.tickets
    }

    /// Arrival cookies, suffix and value, oldest first.
    pub fn arrivals(&self) -> &[(String, String)] {
        &self.arrivals
    }
}

impl fmt::Debug for Cookies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cookies({} tickets, {} arrivals)", self.tickets.len(), self.arrivals.len())
    }
}

/// The suffixes that must go so that at most [`MAX_OF_A_KIND`] are left together with `added` new ones: the oldest.
pub fn surplus(present: &[(String, String)], added: usize) -> impl Iterator<Item = &str> {
    let too_many = (present.len() + added).saturating_sub(MAX_OF_A_KIND);
    present.iter().take(too_many).map(|(suffix, _)| suffix.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::handle::Kind;

    fn jar(public_url: &str) -> Jar {
        Jar::new(&Origin::parse(public_url).unwrap())
    }

    fn sent(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (COOKIE, HeaderValue::from_str(value).unwrap())).collect()
    }

    fn text(value: &HeaderValue) -> String {
        assert!(value.is_sensitive());
        let text = value.to_str().unwrap();
        let (pair, attributes) = text.split_once("; ").unwrap();
        let (name, _) = pair.split_once('=').unwrap();
        format!("{name}; {attributes}")
    }

    #[test]
    fn over_https_every_cookie_is_a_host_cookie() {
        let (jar, value) = (jar("https://mcp.example.com"), Handle::plain(Kind::Cookie, [1; 32]));
        let all = [
            (jar.render(&value), "__Host-mcpd-render; HttpOnly; SameSite=Lax; Secure; Path=/"),
            (
                jar.session(&value),
                "__Host-mcpd-session; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=1209600",
            ),
            (
                jar.ticket("github", "a1", &value),
                "__Host-mcpd-ticket-a1; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=600",
            ),
            (
                jar.arrival("a1", &value),
                "__Host-mcpd-arrival-a1; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=600",
            ),
            (
                jar.ticket_gone("github", "a1"),
                "__Host-mcpd-ticket-a1; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0",
            ),
            (
                jar.arrival_gone("a1"),
                "__Host-mcpd-arrival-a1; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0",
            ),
        ];
        for (header, expected) in &all {
            assert_eq!(text(header), *expected);
        }
        assert!(all[0].0.to_str().unwrap().starts_with(&format!("__Host-mcpd-render={};", value.expose())));
    }

    #[test]
    fn on_http_loopback_each_has_the_narrowest_path() {
        let (jar, value) = (jar("http://127.0.0.1:8080"), Handle::plain(Kind::Cookie, [1; 32]));
        for (header, expected) in [
            (jar.render(&value), "mcpd-render; HttpOnly; SameSite=Lax; Path=/"),
            (jar.session(&value), "mcpd-session; HttpOnly; SameSite=Lax; Path=/; Max-Age=1209600"),
            (
                jar.ticket("github", "a1", &value),
                "mcpd-ticket-a1; HttpOnly; SameSite=Lax; Path=/callback/github; Max-Age=600",
            ),
            (
                jar.ticket_gone("github", "a1"),
                "mcpd-ticket-a1; HttpOnly; SameSite=Lax; Path=/callback/github; Max-Age=0",
            ),
            (
                jar.arrival("a1", &value),
                "mcpd-arrival-a1; HttpOnly; SameSite=Lax; Path=/arrival; Max-Age=600",
            ),
        ] {
            assert_eq!(text(&header), expected);
        }
    }

    #[test]
    fn our_cookies_are_found_among_others() {
        let cookies = jar("https://mcp.example.com").read(&sent(&[
            "a=b; __Host-mcpd-render=r; mcpd-session=planted; =x; nonsense;  __Host-mcpd-ticket-b=2",
            "__Host-mcpd-ticket-a=1;__Host-mcpd-arrival-c=3; __Host-mcpd-ticket-=0; __Host-mcpd-ticket-x/y=0",
        ]));
        assert_eq!(cookies.render().as_deref(), Some("r"));
        assert_eq!(cookies.session(), None, "a name without the prefix could be another host's");
        let pairs =
            |list: &[(String, String)]| list.iter().map(|(a, b)| format!("{a}={b}")).collect::<Vec<_>>();
        assert_eq!(pairs(cookies.tickets()), ["a=1", "b=2"]);
        assert_eq!(pairs(cookies.arrivals()), ["c=3"]);
    }

    #[test]
    fn a_name_with_two_values_is_missing() {
        let jar = jar("http://localhost:1");
        assert_eq!(jar.read(&sent(&["mcpd-render=a; mcpd-render=b"])).render(), None);
        assert_eq!(jar.read(&sent(&["mcpd-render=a", "mcpd-render=a"])).render().as_deref(), Some("a"));
        assert!(jar.read(&sent(&["mcpd-ticket-s=a; mcpd-ticket-s=b"])).tickets().is_empty());
        assert_eq!(jar.read(&sent(&["mcpd-ticket-s=a; mcpd-ticket-s=a"])).tickets().len(), 1);
        assert_eq!(jar.read(&sent(&["mcpd-render="])).render(), None);
    }

    /// Whoever fills a head with cookies of ours makes us read it, and no more: a header as long as these would take minutes
    /// if each were compared with all.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "the test measures real time")]
    fn attack_thousands_of_cookies_are_read_once() {
        let jar = jar("http://localhost:1");
        let begun = std::time::Instant::now();
        let same = format!("mcpd-render=r; {}", "mcpd-a=b;".repeat(100_000));
        assert_eq!(jar.read(&sent(&[&same])).render().as_deref(), Some("r"));
        let different: Vec<_> = (0..100_000).map(|number| format!("mcpd-ticket-{number:06}=x;")).collect();
        let cookies = jar.read(&sent(&[&different.concat()]));
        assert_eq!(cookies.tickets().len(), 4 * MAX_OF_A_KIND);
        assert_eq!(cookies.tickets().last().map(|(suffix, _)| suffix.as_str()), Some("099999"), "the newest");
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let present: Vec<_> = (0..9).map(|n| (format!("a{n}"), String::new())).collect();
        assert_eq!(surplus(&present, 1).collect::<Vec<_>>(), ["a0", "a1"]);
        assert_eq!(surplus(&present, 0).collect::<Vec<_>>(), ["a0"]);
        assert_eq!(surplus(&present[..7], 1).count(), 0);
    }

    #[test]
    fn cookies_never_print_their_values() {
        let cookies = jar("http://localhost:1").read(&sent(&["mcpd-render=secret; mcpd-ticket-a=secret"]));
        assert_eq!(format!("{cookies:?}"), "Cookies(1 tickets, 0 arrivals)");
    }
}
