//! Clients that come back from a backup, held against what they would have had to say to be known here at all.
//!
//! A backup is a file, and what tells whether somebody has changed it is a key that may be lost: then the operator trusts it. So no
//! record comes back that no way leads to: an id that is not ours, a "verified" host without a document, redirect URIs that nobody
//! may register, a secret where there is none. And none says of itself that it was used next year, or read its document then.
//!
//! Pure. Called where a backup is restored, and where is only said what would be.

use super::{
    client::{Client, Source, USED_TTL},
    document::{self, DocumentRules, DocumentUrl, Seen},
    handle::{self, Kind, is_plain},
    metadata::{AuthMethod, ClientMetadata},
    redirect::RedirectRules,
    time::Timestamp,
};

/// The longest client id that an operator may write.
const LONGEST_CONFIGURED: usize = 255;

/// Why a client does not come back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LeftOut {
    /// Nobody used it for so long that it would have been forgotten by now.
    Expired,
    /// It could not have become known here as it stands there.
    Impossible,
}

impl Client {
    /// What of this record comes back at `now`: everything that people had approved for it is over. `revoke`: the operator says that it was
    /// revoked since.
    pub fn restored(self, revoke: bool, rules: &RedirectRules<'_>, now: Timestamp) -> Result<Self, LeftOut> {
        let revoked_at = match self.revoked_at {
            Some(at) => Some(if revoke { now } else { at.min(now) }),
            None => revoke.then_some(now),
        };
        // What the document or the configuration says comes over it in any case, and a mark must not get lost.
        let needs_its_mark = revoked_at.is_some() && self.source != Source::Registered;
        if !has_id_of_its_source(&self, rules) || !(needs_its_mark || is_as_judged(&self, rules)) {
            return Err(LeftOut::Impossible);
        }
        let back = Self {
            registered_at: self.registered_at.min(now),
            unused_until: self.unused_until.min(now.after(USED_TTL)),
            used_at: self.used_at.map(|at| at.min(now)),
            revoked_at,
            voided_at: Some(now),
            // Whatever is read of it next is newer.
            document: self.document.map(|seen| Seen {
                at: Timestamp::default(),
                gone_at: seen.gone_at.filter(|_| seen.is_gone()).map(|at| at.min(now)),
            }),
            ..self
        };
        if back.expires_at().has_passed(now) && revoked_at.is_none() {
            return Err(LeftOut::Expired);
        }
        Ok(back)
    }
}

fn has_id_of_its_source(client: &Client, rules: &RedirectRules<'_>) -> bool {
    let id = client.id.as_str();
    match client.source {
        Source::Registered => is_plain(Kind::Client, id) && client.document.is_none(),
        Source::Document => {
            // Which hosts the operator allows is judged whenever it is used.
            let any = DocumentRules { own_origin: rules.own_origin, allowed_domains: &[], loopback: true };
            DocumentUrl::client_id(id, &any).is_ok() && client.document.is_some()
        }
        Source::Configured => {
            let is_text = (1..=LONGEST_CONFIGURED).contains(&id.len())
                && id.bytes().all(|byte| byte.is_ascii_graphic());
            is_text
                && !id.starts_with(handle::PREFIX)
                && !document::is_url_shaped(&id.to_ascii_lowercase())
                && client.document.is_none()
        }
    }
}

/// Whether a registration with these words would have led to this record.
fn is_as_judged(client: &Client, rules: &RedirectRules<'_>) -> bool {
    let judged = ClientMetadata::judge(client.metadata.canonical().as_bytes(), rules);
    let has_secret = match client.metadata.token_endpoint_auth_method {
        AuthMethod::ClientSecretBasic | AuthMethod::ClientSecretPost => true,
        AuthMethod::None | AuthMethod::PrivateKeyJwt => false,
    };
    judged.is_ok_and(|judged| judged == client.metadata) && client.secret.is_some() == has_secret
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::{client::tests::client, handle::Handle, secret::Digest};

    const RULES: RedirectRules<'static> =
        RedirectRules { own_origin: "https://mcp.example.com", private_schemes: &[] };
    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn registered(body: &serde_json::Value, secret: Option<&str>) -> Client {
        let id = Handle::derived(Kind::Client, &Digest::of("a")).expose().to_owned();
        client(&id, &body.to_string(), secret, NOW)
    }

    fn public() -> Client {
        registered(
            &json!({ "redirect_uris": ["http://127.0.0.1/"], "token_endpoint_auth_method": "none" }),
            None,
        )
    }

    fn of_document() -> Client {
        let id = "https://good.example/app.json".to_owned();
        Client { id, source: Source::Document, document: Some(Seen::at(NOW)), ..public() }
    }

    fn configured() -> Client {
        Client { id: "own".to_owned(), source: Source::Configured, ..public() }
    }

    fn back(client: Client) -> Result<Client, LeftOut> {
        client.restored(false, &RULES, NOW)
    }

    /// Whatever registration lets in comes back as it was, apart from what was approved.
    #[test]
    fn what_was_registered_comes_back() {
        let key = json!({ "kty": "OKP", "crv": "Ed25519", "kid": "1", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
        for (body, secret) in [
            (json!({ "redirect_uris": ["https://a.example/cb"], "client_name": " A \u{1F600} " }), Some("s")),
            (
                json!({ "redirect_uris": ["http://localhost:1/", "https://b.example/?x=y"], "token_endpoint_auth_method": "client_secret_post",
                "scope": "b a", "client_uri": "https://a.example", "software_id": "x", "application_type": "web" }),
                Some("s"),
            ),
            (
                json!({ "redirect_uris": ["https://a.example/"], "token_endpoint_auth_method": "private_key_jwt", "jwks": { "keys": [key] },
                "token_endpoint_auth_signing_alg": "EdDSA" }),
                None,
            ),
            (
                json!({ "redirect_uris": ["https://a.example/"], "token_endpoint_auth_method": "private_key_jwt",
                "jwks_uri": "https://keys.example/set?x" }),
                None,
            ),
        ] {
            let honest = registered(&body, secret);
            let expected = Client { voided_at: Some(NOW), ..honest.clone() };
            assert_eq!(back(honest), Ok(expected), "{body}");
        }
        for honest in [public(), configured()] {
            assert_eq!(back(honest.clone()), Ok(Client { voided_at: Some(NOW), ..honest }));
        }
        let document = back(of_document()).unwrap();
        assert_eq!(document.document, Some(Seen::at(Timestamp::default())));
    }

    #[test]
    fn what_no_way_leads_to_is_left_out() {
        let secret = Some(Digest::of("s"));
        let forged = |uri: &str| {
            let text = serde_json::to_string(&public()).unwrap().replace("http://127.0.0.1/", uri);
            serde_json::from_str::<Client>(&text).unwrap()
        };
        for (what, client) in [
            ("an id of nobody's", Client { id: "x".to_owned(), ..public() }),
            ("no id", Client { id: String::new(), ..public() }),
            ("the id of a token", Client { id: "mcpd_at_AAAA".to_owned(), ..public() }),
            ("a host that nobody verified", Client { id: of_document().id, ..public() }),
            ("a document without one", Client { document: None, ..of_document() }),
            ("a document of ours", Client { id: "https://mcp.example.com/x".to_owned(), ..of_document() }),
            ("a document at an app that registered", Client { document: Some(Seen::at(NOW)), ..public() }),
            ("ours as the operator's", Client { id: public().id, ..configured() }),
            ("a document as the operator's", Client { id: "HTTPS://x.example/y".to_owned(), ..configured() }),
            ("blanks", Client { id: "a b".to_owned(), ..configured() }),
            ("a secret that a public app has", Client { secret, ..public() }),
            ("script", forged("javascript:alert(1)")),
            ("no TLS", forged("http://evil.example/")),
            ("our own origin", forged("https://mcp.example.com/callback")),
            ("a scheme that nobody allowed", forged("evil:/cb")),
        ] {
            assert_eq!(back(client), Err(LeftOut::Impossible), "{what}");
        }
        let mut named = public();
        named.metadata.client_name = Some("x".repeat(2000));
        assert_eq!(back(named), Err(LeftOut::Impossible));
        let schemes = ["evil".to_owned()];
        let rules = RedirectRules { private_schemes: &schemes, ..RULES };
        assert!(forged("evil:/cb").restored(false, &rules, NOW).is_ok());
    }

    #[test]
    fn nothing_is_said_of_the_future() {
        let far = Timestamp::from_millis(u64::MAX);
        let back = back(Client {
            registered_at: far,
            unused_until: far,
            used_at: Some(far),
            revoked_at: Some(far),
            voided_at: Some(far),
            document: Some(Seen { at: far, gone_at: Some(far) }),
            ..of_document()
        });
        let back = back.unwrap();
        assert_eq!(
            (back.registered_at, back.used_at, back.revoked_at, back.voided_at),
            (NOW, Some(NOW), Some(NOW), Some(NOW))
        );
        assert!(back.unused_until < NOW.after(USED_TTL * 2));
        assert_eq!(back.document, Some(Seen { at: Timestamp::default(), gone_at: Some(NOW) }));
    }

    #[test]
    fn a_revoked_one_stays_so_and_none_is_forgotten_that_could_come_by_itself() {
        let early = NOW.before(USED_TTL * 3);
        let old = Client { registered_at: early, unused_until: early, ..public() };
        assert_eq!(back(old.clone()), Err(LeftOut::Expired));
        assert_eq!(back(Client { revoked_at: Some(early), ..old.clone() }).unwrap().revoked_at, Some(early));
        assert_eq!(old.restored(true, &RULES, NOW).unwrap().revoked_at, Some(NOW));
        assert_eq!(
            Client { revoked_at: Some(early), ..public() }.restored(true, &RULES, NOW).unwrap().revoked_at,
            Some(NOW)
        );
        // The next document, or the configuration, would begin without a mark.
        for client in [of_document(), configured()] {
            let mut client = Client { revoked_at: Some(early), ..client };
            client.metadata.client_name = Some("x".repeat(2000));
            assert_eq!(back(client).unwrap().revoked_at, Some(early));
        }
    }
}
