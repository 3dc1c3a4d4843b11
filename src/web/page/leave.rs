//! The page that goes elsewhere by itself: to the third party after Approve, to the client at the end.
//!
//! A POST of ours is never answered with a redirect to another origin: Chromium and Safari hold `form-action 'self'`
//! against every hop behind a form and silently stop, after the code was made. So the answer is 200 with this page,
//! whose `meta refresh` is a navigation of its own, works without scripts and for private-use schemes, and has a
//! plain link for browsers that want a click first.
//!
//! It decides nothing: the address must come from a departure to the third party or from a matched redirect URI.

use serde::Serialize;
use url::Url;

use super::{Demands, Label, PageContext, PageKind, Verbatim};

/// The interstitial page. Not `Debug`: its address can carry an authorization code.
#[derive(Serialize)]
pub struct Leave {
    /// Where to.
    pub url: LeaveUrl,
    /// Who is there.
    pub to: LeaveTo,
}

/// Who is at the other end.
#[derive(Clone, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum LeaveTo {
    /// An app on the person's device: a private-use scheme, after which this page stays open.
    App {
        /// The client's name.
        name: Label,
    },
    /// The client's redirect URI on the web or on a loopback address.
    Client {
        /// The host, as on the consent page.
        host: Verbatim,
    },
    /// The third party's authorization endpoint.
    ThirdParty {
        /// Its configured name.
        name: Label,
    },
}

/// An address that a page may go to by itself.
#[derive(Clone, Serialize)]
#[serde(transparent)]
pub struct LeaveUrl(String);

impl LeaveUrl {
    /// Takes an absolute URL as it is, byte for byte.
    ///
    /// `None` for what is not one, for anything but printable ASCII without spaces, and for schemes that a browser
    /// would run or open within itself. Both are refused long before; this is the last door.
    pub fn new(url: &str) -> Option<Self> {
        if !url.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let scheme = Url::parse(url).ok()?.scheme().to_owned();
        if BROWSER_SCHEMES.contains(&scheme.as_str()) {
            return None;
        }
        Some(Self(url.to_owned()))
    }
}

impl PageContext for Leave {
    const KIND: PageKind = PageKind::Leave;

    fn demands(&self, demands: &mut Demands) {
        match &self.to {
            LeaveTo::App { name } | LeaveTo::ThirdParty { name } => demands.label("where it leads", name),
            LeaveTo::Client { host } => demands.verbatim("where it leads", host),
        }
        demands.link(&self.url.0);
    }

    fn samples() -> Vec<Self> {
        let rows = [
            (
                "https://github.com/login/oauth/authorize?client_id=Iv1.0&scope=repo%20read:user&state=s",
                LeaveTo::ThirdParty { name: Label::new("GitHub") },
            ),
            (
                "http://127.0.0.1:33418/?code=c&state='\"<&iss=https://mcp.example.com",
                LeaveTo::Client { host: Verbatim::new("127.0.0.1:33418") },
            ),
            (
                "cursor://anysphere.cursor-mcp/oauth/callback?error=access_denied",
                LeaveTo::App { name: Label::new("Cursor") },
            ),
        ];
        rows.into_iter().filter_map(|(url, to)| Some(Self { url: LeaveUrl::new(url)?, to })).collect()
    }
}

const BROWSER_SCHEMES: [&str; 9] =
    ["about", "blob", "chrome", "data", "file", "filesystem", "javascript", "vbscript", "view-source"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_lead_away_are_taken() {
        for url in [
            "https://a.example/?x=1;url=javascript:alert(1)",
            "http://[::1]:80/",
            "com.example.app:/cb?code=1",
            "vscode://x/y#z",
        ] {
            assert!(LeaveUrl::new(url).is_some(), "{url}");
        }
        for url in [
            "javascript:alert(1)",
            "JavaScript:alert(1)",
            "data:text/html,x",
            "view-source:https://a.example",
            "/relative",
            "//a.example/",
            "",
            "https://a.example/\nb",
            "https://a.example/ b",
            "https://ä.example/",
        ] {
            assert!(LeaveUrl::new(url).is_none(), "{url}");
        }
    }

    #[test]
    fn every_sample_has_an_address() {
        assert_eq!(Leave::samples().len(), 3);
    }
}
