//! One contract for each preset: the provider as it is known to answer, at its worst, and the gateway in front of it.
//!
//! Each takes the preset as a configuration resolves it, and puts one fake server in the place of all of the provider's
//! hosts: what was sent to `https://api.github.com/user` arrives there as `/api.github.com/user`. So a contract sees which host
//! a call was meant for, what it carried, and decides what comes back. Tests only.

mod atlassian;
mod entra;
mod github;
mod gitlab;
mod google;
mod linear;
mod notion;
mod oidc;
mod okta;
mod slack;

use std::sync::Arc;

use url::Url;

use super::{ConfiguredProvider, discover, tests::client};
use crate::{
    config::{self, Settings},
    domain::{
        provider::{Provider, Revocation},
        scope::ScopeSet,
        time::Timestamp,
    },
    flow::ports::{Clock, Departure, Identity, ThirdParty as _, ThirdPartyError, ThirdPartyTokens},
    upstream::fake::{Act, Fake, Seen},
};

/// The configuration in which a provider section says this, and a server section that.
fn configured(provider: &str, server: &str) -> Result<Settings, String> {
    let text = format!(
        "public_url = \"https://mcp.example.com\"\n[provider.third]\nclient_id = \"our-id\"\n\
         client_secret = \"our-secret\"\n{provider}\n[[mcp_server]]\nupstream_url = \"http://127.0.0.1:3000/mcp\"\n\
         {server}\n"
    );
    config::from_text("proxy.toml", &text, &|_| None).map_err(|error| error.sentence().to_owned())
}

/// A provider by its preset, and the fake that all its hosts are.
struct Contract {
    provider: Provider,
    third_party: ConfiguredProvider,
    fake: Fake,
}

impl Contract {
    /// With this section, and a fake that answers like this.
    async fn with(section: &str, answer: impl Fn(&Seen) -> Act + Send + Sync + 'static) -> Self {
        let fake = Fake::answering(answer).await;
        let section = section.replace("{fake}", &fake.url(""));
        let mut provider = configured(&section, "").unwrap().providers.remove(0);
        discover(&client(), &mut provider).await.unwrap();
        let third_party = ConfiguredProvider::new(
            moved(provider.clone(), &fake.url("")),
            "https://mcp.example.com/callback/third".to_owned(),
            client(),
            Arc::new(Noon),
        );
        Self { provider, third_party: third_party.unwrap(), fake }
    }

    /// Where the browser is sent, for these scopes and those that are always asked for.
    fn departure(&self, scopes: &[&str], fresh_consent: bool) -> Departed {
        let always = self.provider.scopes.iter().map(String::as_str);
        let scopes: ScopeSet = scopes.iter().copied().chain(always).collect();
        let departure = Departure::for_test("st", "ch", &scopes, fresh_consent);
        Departed(Url::parse(&self.third_party.departure(&departure)).unwrap())
    }

    async fn redeem(&self) -> Result<ThirdPartyTokens, ThirdPartyError> {
        self.third_party.redeem("code".into(), "verifier".into()).await
    }

    async fn refresh(&self, token: &str) -> Result<ThirdPartyTokens, ThirdPartyError> {
        self.third_party.refresh(token.into()).await
    }

    async fn identify(&self) -> Result<Identity, ThirdPartyError> {
        self.third_party.identify(&"access".into()).await
    }

    async fn revoke(&self) -> Result<(), ThirdPartyError> {
        self.third_party.revoke("token".into()).await
    }

    /// The last thing that the fake was asked.
    fn last(&self) -> Seen {
        self.fake.seen().pop().expect("a request")
    }

    /// The third-party scopes of these that count as more than those that were approved.
    fn wider(&self, approved: &[&str], granted: &ScopeSet) -> String {
        let approved = ScopeSet::from_iter(self.provider.with_equivalents(approved.iter().copied()));
        let naming = ScopeSet::from_iter(crate::domain::provider::NAMING_SCOPES);
        granted.minus(&approved).minus(&naming).to_string()
    }
}

/// An authorization request.
struct Departed(Url);

impl Departed {
    /// A parameter; never twice.
    fn get(&self, name: &str) -> Option<String> {
        let mut values =
            self.0.query_pairs().filter(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        let value = values.next();
        assert_eq!(values.next(), None, "{name} is repeated");
        value
    }

    /// What every one of them has: our client, our callback, our state, no resource, and S256 where PKCE is on.
    fn is_ours(&self, has_pkce: bool) {
        assert_eq!(self.get("response_type").as_deref(), Some("code"));
        assert_eq!(self.get("client_id").as_deref(), Some("our-id"));
        assert_eq!(self.get("redirect_uri").as_deref(), Some("https://mcp.example.com/callback/third"));
        assert_eq!(self.get("state").as_deref(), Some("st"));
        assert_eq!(self.get("code_challenge").as_deref(), has_pkce.then_some("ch"));
        assert_eq!(self.get("code_challenge_method").as_deref(), has_pkce.then_some("S256"));
        assert_eq!(self.get("resource"), None);
    }
}

/// All of its endpoints at the fake, with the host as the first part of the path.
fn moved(mut provider: Provider, fake: &str) -> Provider {
    let moved = |url: &mut Url| {
        if let Some(host) = url.host_str().filter(|host| *host != "127.0.0.1") {
            let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
            *url = Url::parse(&format!("{fake}/{host}{}{query}", url.path())).unwrap();
        }
    };
    for url in [&mut provider.token_endpoint, &mut provider.userinfo_endpoint] {
        moved(url);
    }
    match &mut provider.revocation {
        Revocation::GithubApplication(url) | Revocation::Rfc7009(url) => moved(url),
        Revocation::None => {}
    }
    provider
}

/// An answer in JSON.
fn json(status: u16, body: &str) -> Act {
    Act::answer(status, "application/json", body)
}

struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_000_000)
    }
}

/// Basic authentication of `our-id` and `our-secret`.
const BASIC: &str = "Basic b3VyLWlkOm91ci1zZWNyZXQ=";

const TOKEN_REFUSED: ThirdPartyError = ThirdPartyError::Refused("token_refused");
const NO_SUBJECT: ThirdPartyError = ThirdPartyError::Unavailable("identity_without_subject");
