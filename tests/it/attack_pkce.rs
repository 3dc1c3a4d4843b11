//! PKCE: challenges that protect nobody, verifiers that are almost right, and verifiers of somebody else.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use http::Request;
use mcp_deputy::{
    domain::pkce::CodeChallenge,
    sandbox::third_party::{ADA, Event, GRACE},
};

use crate::support::{Answer, Gateway, Reply, parameter, random};

async fn page(gateway: &Gateway, url: &str) -> Reply {
    gateway.send(Request::get(url).header("accept", "text/html").body("".into()).unwrap()).await
}

#[tokio::test]
async fn attack_challenge_that_is_none() {
    let gateway = Gateway::start().await;
    let client = gateway.client("App").await;
    let good = client.asks();
    let right = good.get("code_challenge").unwrap().to_owned();
    assert_eq!(right.len(), 43);
    let hex = right.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    let standard = STANDARD.encode(URL_SAFE_NO_PAD.decode(&right).unwrap());
    // The last of 43 characters has two bits to spare: they must be zero, or one challenge has four writings.
    let spare = format!("{}B", &right[..42]);
    for challenge in [
        "",
        " ",
        "x",
        &right[..42],
        &right[1..],
        &format!("{right}A"),
        &format!("{right}="),
        &format!("{right} "),
        &format!(" {right}"),
        &format!("{right}\n"),
        &format!("{right}\0"),
        &format!("{right},{right}"),
        &standard,
        &hex,
        &spare,
        &"A".repeat(44),
        &"A".repeat(4_000),
        &format!("+{}", &right[1..]),
        &format!("/{}", &right[1..]),
        &format!("\u{e4}{}", &right[2..]),
        "S256",
        "null",
    ] {
        let reply = page(&gateway, &good.clone().with("code_challenge", challenge).url()).await;
        assert_eq!((reply.status, reply.slug().as_str()), (400, "bad_parameter"), "{challenge:?}");
        assert_eq!((reply.header("location"), reply.header("set-cookie")), (None, None));
    }
    for method in [
        "",
        " ",
        "plain",
        "Plain",
        "s256",
        "S256 ",
        " S256",
        "S256\0",
        "S256,plain",
        "S256 plain",
        "S512",
        "SHA256",
        "sha256",
        "SHA-256",
        "none",
        "null",
        "0",
        "S256%00",
    ] {
        let reply = page(&gateway, &good.clone().with("code_challenge_method", method).url()).await;
        assert_eq!((reply.status, reply.slug().as_str()), (400, "bad_parameter"), "{method:?}");
    }
    // Named twice, named otherwise, or only one half of it.
    let url = good.url();
    for twice in [
        "code_challenge_method=plain",
        "%63ode_challenge_method=plain",
        "code_challenge=x",
        "code_challenge=",
    ] {
        for url in [format!("{url}&{twice}"), url.replacen('?', &format!("?{twice}&"), 1)] {
            assert_eq!(page(&gateway, &url).await.slug(), "bad_parameter", "{twice}");
        }
    }
    for name in ["Code_challenge", "code_challenge[]", "codeChallenge", "challenge"] {
        let reply = page(&gateway, &good.clone().without("code_challenge").and(name, &right).url()).await;
        assert_eq!(reply.slug(), "bad_parameter", "{name}");
    }
    let neither = good.without("code_challenge").without("code_challenge_method");
    assert_eq!(page(&gateway, &neither.url()).await.slug(), "bad_parameter");
    assert_eq!(gateway.third_party.events().all(), []);
}

#[tokio::test]
async fn attack_verifier_that_is_almost_right() {
    let gateway = Gateway::start().await;
    let client = gateway.client("App").await;
    let mut ada = gateway.visitor(&ADA);
    let answer = ada.authorize(&client.asks()).await;
    let right = answer.verifier.clone();
    let challenge = CodeChallenge::of(&right).as_str().to_owned();
    let other = random("verifier-0123456789-");
    let cut = right[..right.len() - 1].to_owned();
    for verifier in [
        "",
        " ",
        "x",
        // What it would be were the method `plain`, or hashed once more or otherwise.
        challenge.as_str(),
        CodeChallenge::of(&challenge).as_str(),
        &URL_SAFE_NO_PAD.encode(&right),
        &STANDARD.encode(&right),
        &cut,
        &right[1..],
        &format!("{right}x"),
        &format!("{right} "),
        &format!(" {right}"),
        &format!("{right}\n"),
        &format!("{right}\0"),
        &format!("{right}="),
        &format!("{right}%00"),
        &format!("{right}{right}{right}{right}"),
        &right.to_uppercase(),
        &right.to_lowercase(),
        &right.chars().rev().collect::<String>(),
        &right.replace('-', "_"),
        &right.replace('-', "\u{2010}"),
        &other,
        &"a".repeat(43),
        &"a".repeat(128),
        &"a".repeat(60_000),
        "null",
    ] {
        if verifier == right {
            continue;
        }
        let mut form = answer.form();
        form[2] = ("code_verifier", verifier);
        let reply = client.post("/token", &form).await;
        let expected = if verifier.is_empty() { "invalid_request" } else { "invalid_grant" };
        assert_eq!((reply.status, reply.error().as_str()), (400, expected), "{verifier:?}");
    }
    // In other places, and together with another one.
    let [grant_type, code, verifier, uri] = answer.form();
    let spare = ("code_verifier", other.as_str());
    for (form, path) in [
        (&[grant_type, code, uri][..], format!("/token?code_verifier={right}")),
        (&[grant_type, code, uri, ("Code_verifier", right.as_str())], "/token".to_owned()),
        (&[grant_type, code, uri, ("code_verifier[]", right.as_str())], "/token".to_owned()),
        (&[grant_type, code, uri, verifier, spare], "/token".to_owned()),
        (&[grant_type, code, uri, spare, verifier], "/token".to_owned()),
        (&[grant_type, code, uri, verifier, verifier], "/token".to_owned()),
        (&[grant_type, code, uri, verifier, ("code_verifier", "")], "/token".to_owned()),
    ] {
        let reply = client.post(&path, form).await;
        assert_eq!((reply.status, reply.error().as_str()), (400, "invalid_request"), "{path} {}", form.len());
    }
    // None of that has burnt the code.
    let tokens = client.redeem(&answer).await;
    assert_eq!(gateway.whoami(&tokens.access).await, "ada");
}

/// A verifier that RFC 7636 does not allow is none, even where the challenge was made from it.
#[tokio::test]
async fn attack_verifier_that_can_be_guessed() {
    let gateway = Gateway::start().await;
    let client = gateway.client("App").await;
    let mut ada = gateway.visitor(&ADA);
    let long = "a".repeat(129);
    for weak in [
        "",
        "a",
        "password",
        &"a".repeat(42),
        &long,
        "spaces are not allowed in a verifier, whatever its length",
    ] {
        let asking = client.asks().with("code_challenge", CodeChallenge::of(weak).as_str());
        let answer = Answer { verifier: weak.to_owned(), ..ada.authorize(&asking).await };
        let reply = client.try_redeem(&answer).await;
        assert_eq!(reply.status, 400, "{weak:?}");
        assert!(["invalid_grant", "invalid_request"].contains(&reply.error().as_str()), "{weak:?}");
    }
}

/// Codes and verifiers of two journeys, crossed; and a challenge that was copied from somebody's address bar.
#[tokio::test]
async fn attack_verifier_of_another_journey() {
    let gateway = Gateway::start().await;
    let (client, thief) = (gateway.client("App").await, gateway.client("Thief").await);
    let (mut ada, mut grace) = (gateway.visitor(&ADA), gateway.visitor(&GRACE));
    let (one, two) = (client.asks(), client.asks());
    let (first, second) = (ada.authorize(&one).await, ada.authorize(&two).await);
    let theirs = grace.authorize(&client.asks()).await;
    for (answer, verifier) in
        [(&first, &second), (&second, &first), (&first, &theirs), (&theirs, &first), (&theirs, &second)]
    {
        let crossed = Answer { verifier: verifier.verifier.clone(), ..answer.clone() };
        assert_eq!(client.try_redeem(&crossed).await.error(), "invalid_grant");
    }
    // The thief's own journey with the copied challenge ends in a code that only the victim's verifier opens; and the
    // victim's code stays the victim's.
    let copied = thief.asks().with("code_challenge", one.get("code_challenge").unwrap());
    let stolen = grace.authorize(&copied).await;
    assert_eq!(thief.try_redeem(&stolen).await.error(), "invalid_grant");
    let crossed = Answer { verifier: first.verifier.clone(), ..stolen.clone() };
    assert_eq!(client.try_redeem(&crossed).await.error(), "invalid_grant", "of another client");
    let intercepted = Answer { verifier: stolen.verifier.clone(), ..first.clone() };
    assert_eq!(thief.try_redeem(&intercepted).await.error(), "invalid_grant");
    for answer in [&first, &second, &theirs] {
        client.redeem(answer).await;
    }
}

/// Our own pair towards the third party: there every time, fresh, and not the client's.
#[tokio::test]
async fn attack_challenge_carried_over_to_the_third_party() {
    let gateway = Gateway::start().await;
    let client = gateway.client("App").await;
    let mut ada = gateway.visitor(&ADA);
    let mut seen = Vec::new();
    for _ in 0..3 {
        let asking = client.asks();
        let departure = ada.approve(&asking).await.leads_to().unwrap();
        let ours = parameter(&departure, "code_challenge").unwrap();
        assert_eq!(parameter(&departure, "code_challenge_method").as_deref(), Some("S256"));
        assert!(Some(ours.as_str()) != asking.get("code_challenge") && !seen.contains(&ours));
        for (name, value) in &asking.parameters {
            // Nothing of the client's request travels on, but that a code is wanted, and in which way it is protected.
            let carried = parameter(&departure, name).is_some_and(|carried| carried == *value);
            assert_eq!(
                carried,
                ["response_type", "code_challenge_method"].contains(&name.as_str()),
                "{name}"
            );
        }
        assert!(!departure.contains(&asking.verifier) && !departure.contains("code_verifier"));
        seen.push(ours);
    }
    let pkce = |event: &Event| matches!(event, Event::AuthorizeRequested { pkce: false, .. });
    assert_eq!(gateway.third_party.events().count(pkce), 0);
}
