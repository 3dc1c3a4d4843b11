//! Everything that can happen several times at once.

use std::{sync::Arc, time::Duration};

use mcp_deputy::{
    domain::handle::{Handle, Kind, Presented},
    sandbox::third_party::{ADA, Behaviour, Event, Granted, Health},
};
use tokio::task::JoinSet;

use crate::support::{Answer, Gateway, PATIENCE, Reply, Setup, Tokens, Visitor, chance, parameter};

const MANY: usize = 12;

async fn at_once<T: Send + 'static>(
    each: impl IntoIterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Vec<T> {
    let mut racing = JoinSet::new();
    for one in each {
        racing.spawn(one);
    }
    tokio::time::timeout(PATIENCE, racing.join_all()).await.expect("somebody waits for ever")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn five_refreshes_at_once_get_one_answer() {
    for disk in [false, true] {
        let gateway = Setup { disk, ..Setup::default() }.start().await;
        let (client, tokens) = gateway.tokens(&ADA).await;
        let mut current = tokens.refresh;
        for _ in 0..3 {
            let refreshing = (0..5).map(|_| {
                let (client, current) = (client.clone(), current.clone());
                async move { client.refresh(&current).await }
            });
            let answers: Vec<Tokens> = at_once(refreshing).await;
            for answer in &answers {
                assert_eq!((&answer.access, &answer.refresh), (&answers[0].access, &answers[0].refresh));
                assert_eq!(gateway.whoami(&answer.access).await, "ada");
            }
            current.clone_from(&answers[0].refresh);
            gateway.forward(Duration::from_mins(3));
        }
    }
}

#[tokio::test]
async fn a_refresh_token_is_replayed_within_the_grace_and_betrays_its_copy_after_it() {
    let gateway = Gateway::start().await;
    let (client, first) = gateway.tokens(&ADA).await;
    let second = client.refresh(&first.refresh).await;
    gateway.forward(Duration::from_secs(76));
    let replayed = client.refresh(&first.refresh).await;
    assert_eq!((&replayed.access, &replayed.refresh), (&second.access, &second.refresh));
    assert_eq!(replayed.expires_in, second.expires_in - 76, "the same token, and as long as it really lives");
    // Superseded within the window: refused, and nothing ends.
    let third = client.refresh(&second.refresh).await;
    assert_eq!(client.try_refresh(&first.refresh).await.error(), "invalid_grant");
    assert_eq!(gateway.whoami(&third.access).await, "ada");
    // A forgery of the same grant changes nothing.
    let known = Presented::parse(Kind::RefreshToken, &third.refresh).unwrap();
    let forged = Handle::refresh_token(known.grant, chance(), chance());
    assert_eq!(client.try_refresh(forged.expose()).await.error(), "invalid_grant");
    assert_eq!(gateway.whoami(&third.access).await, "ada");
    // Another client that has it gets nothing and ends nothing.
    let other = gateway.client("Other").await;
    assert_eq!(other.try_refresh(&third.refresh).await.error(), "invalid_grant");
    assert_eq!(gateway.whoami(&third.access).await, "ada");
    // After the window an old one can only be a copy.
    gateway.forward(Duration::from_secs(121));
    assert_eq!(client.try_refresh(&second.refresh).await.error(), "invalid_grant");
    assert_eq!(client.try_refresh(&third.refresh).await.error(), "invalid_grant");
    let reply = gateway.tool(&third.access, "whoami", serde_json::json!({})).await;
    assert_eq!(reply.status, 401);
}

#[tokio::test]
async fn a_refresh_token_lives_as_long_as_it_is_used() {
    let gateway = Gateway::start().await;
    let (client, tokens) = gateway.tokens(&ADA).await;
    let mut current = tokens.refresh;
    for _ in 0..3 {
        gateway.forward(Duration::from_hours(29 * 24));
        current = client.refresh(&current).await.refresh;
    }
    gateway.forward(Duration::from_hours(30 * 24));
    assert_eq!(client.try_refresh(&current).await.error(), "invalid_grant");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_redemptions_of_a_code_have_one_winner() {
    for disk in [false, true] {
        let gateway = Setup { disk, ..Setup::default() }.start().await;
        let client = gateway.client("App").await;
        let answer = gateway.visitor(&ADA).authorize(&client.asks()).await;
        let redeeming = (0..MANY).map(|_| {
            let (client, answer) = (client.clone(), answer.clone());
            async move { client.try_redeem(&answer).await }
        });
        let replies: Vec<Reply> = at_once(redeeming).await;
        let won: Vec<&Reply> = replies.iter().filter(|reply| reply.status == 200).collect();
        assert_eq!(won.len(), 1, "disk: {disk}");
        for lost in replies.iter().filter(|reply| reply.status != 200) {
            assert_eq!((lost.status, lost.error().as_str()), (400, "invalid_grant"));
        }
        // A code that was presented twice with the right verifier is in two hands: nobody keeps what it gave.
        let tokens = Tokens::of(won[0]);
        assert_eq!(client.try_refresh(&tokens.refresh).await.error(), "invalid_grant");
        assert_eq!(gateway.tool(&tokens.access, "whoami", serde_json::json!({})).await.status, 401);
    }
}

#[tokio::test]
async fn a_code_with_a_wrong_verifier_ends_nothing() {
    let gateway = Gateway::start().await;
    let client = gateway.client("App").await;
    let answer = gateway.visitor(&ADA).authorize(&client.asks()).await;
    let tokens = client.redeem(&answer).await;
    let wrong = Answer { verifier: crate::support::random("verifier-0123456789-"), ..answer };
    assert_eq!(client.try_redeem(&wrong).await.error(), "invalid_grant");
    assert_eq!(gateway.whoami(&tokens.access).await, "ada");
}

#[tokio::test]
async fn a_code_lives_a_minute() {
    let gateway = Gateway::start().await;
    let client = gateway.client("App").await;
    let answer = gateway.visitor(&ADA).authorize(&client.asks()).await;
    gateway.forward(Duration::from_mins(1));
    assert_eq!(client.try_redeem(&answer).await.error(), "invalid_grant");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_callbacks_with_one_state_make_one_code() {
    for disk in [false, true] {
        let gateway = Setup { disk, ..Setup::default() }.start().await;
        let client = gateway.client("App").await;
        let asking = client.asks();
        let mut ada = gateway.visitor(&ADA);
        let departure = ada.approve(&asking).await;
        let callback = ada.callback_of(&departure).await;
        let codes = codes_of(&ada, vec![callback; MANY]).await;
        assert_eq!(codes.len(), 1, "disk: {disk}");
        client.redeem(&Answer::at(&codes[0], &asking)).await;
        let issued = gateway.third_party.events().count(|event| matches!(event, Event::TokenIssued { .. }));
        assert_eq!(issued, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_posts_of_one_page_make_one_code() {
    let gateway = Gateway::start().await;
    let client = gateway.client("App").await;
    let asking = client.asks();
    let mut ada = gateway.visitor(&ADA);
    let page = ada.consent_page(&asking).await;
    let mut callbacks = Vec::new();
    for _ in 0..8 {
        let departure = ada.press(&page, "Approve").await;
        callbacks.push(ada.callback_of(&departure).await);
    }
    let codes = codes_of(&ada, callbacks).await;
    assert_eq!(codes.len(), 1);
    client.redeem(&Answer::at(&codes[0], &asking)).await;
    // What the others obtained of the third party is let go.
    for _ in 0..200 {
        if gateway.third_party.live_tokens_of(&ADA) == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{} tokens of the third party are left", gateway.third_party.live_tokens_of(&ADA));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_answers_to_a_second_page_get_one_code() {
    for disk in [false, true] {
        let gateway = Setup { disk, ..Setup::default() }.start().await;
        let client = gateway.client("App").await;
        let asking = client.asks();
        let wider = Granted::Exactly(vec!["read:user".to_owned(), "gist".to_owned()]);
        gateway.third_party.behave(|behaviour| behaviour.granted = wider);
        let mut ada = gateway.visitor(&ADA);
        let departure = ada.approve(&asking).await;
        let page = ada.go_on(&departure).await;
        assert_eq!(page.url.path(), "/arrival");
        let pressing = (0..MANY).map(|_| {
            let (mut browser, page) = (ada.browser.clone(), page.clone());
            async move { browser.press_once(&page, "Approve").await.unwrap() }
        });
        let mut answers: Vec<String> = at_once(pressing)
            .await
            .iter()
            .map(|page| page.leads_to().expect("everybody gets the answer"))
            .collect();
        answers.dedup();
        assert_eq!(answers.len(), 1, "disk: {disk}");
        crate::support::secrets::note(&parameter(&answers[0], "code").unwrap());
        client.redeem(&Answer::at(&answers[0], &asking)).await;
        // Too late to change one's mind: the answer is given.
        let denied = ada.press(&page, "Deny").await;
        assert!(denied.leads_to().is_none_or(|to| to == answers[0]), "{}", denied.body);
    }
}

#[tokio::test]
async fn a_second_page_expires_and_its_tokens_are_let_go() {
    let gateway = Gateway::start().await;
    let client = gateway.client("App").await;
    let wider = Granted::Exactly(vec!["read:user".to_owned(), "gist".to_owned()]);
    gateway.third_party.behave(|behaviour| behaviour.granted = wider);
    let mut ada = gateway.visitor(&ADA);
    let departure = ada.approve(&client.asks()).await;
    let page = ada.go_on(&departure).await;
    assert_eq!(gateway.third_party.live_tokens_of(&ADA), 1);
    gateway.forward(Duration::from_mins(10));
    let late = ada.press(&page, "Approve").await;
    assert_eq!((late.status.as_u16(), late.leads_to()), (400, None));
    gateway.forward(Duration::from_hours(2));
    gateway.flows().sweep().await.unwrap();
    let revoked = |event: &Event| matches!(event, Event::Revoked { person: Some("ada") });
    gateway.third_party.events().wait_for(revoked, PATIENCE).await.expect("let go");
    assert_eq!(gateway.third_party.live_tokens_of(&ADA), 0);
}

/// Opens each callback at the same time, each in a copy of the browser; the addresses with a code that came of it.
async fn codes_of(visitor: &Visitor, callbacks: Vec<String>) -> Vec<String> {
    let opening = callbacks.into_iter().map(|callback| {
        let mut browser = visitor.browser.clone();
        async move { browser.step(&callback).await.unwrap() }
    });
    let mut codes = Vec::new();
    for page in at_once(opening).await {
        match page.leads_to().filter(|to| parameter(to, "code").is_some()) {
            Some(to) => {
                crate::support::secrets::note(&parameter(&to, "code").unwrap());
                codes.push(to);
            }
            None => assert!([400, 409].contains(&page.status.as_u16()), "{} {}", page.status, page.body),
        }
    }
    codes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_expiring_token_is_refreshed_by_one_of_many() {
    let behaviour = Behaviour { expiring: Some(Duration::from_hours(8)), ..Behaviour::default() };
    let gateway = Arc::new(Setup { behaviour, ..Setup::default() }.start().await);
    let (client, tokens) = gateway.tokens(&ADA).await;
    let refreshed = |gateway: &Gateway| {
        gateway.third_party.events().count(|event| matches!(event, Event::Refreshed { .. }))
    };
    let mut tokens = tokens;
    for round in 1..=3 {
        gateway.forward(Duration::from_hours(8));
        tokens = client.refresh(&tokens.refresh).await;
        let calling = (0..20).map(|_| {
            let (gateway, access) = (Arc::clone(&gateway), tokens.access.clone());
            async move { gateway.whoami(&access).await }
        });
        assert!(at_once(calling).await.iter().all(|login| login == "ada"));
        assert_eq!(refreshed(&gateway), round, "once per expiry, however many ask");
    }
}

#[tokio::test]
async fn a_third_party_that_is_down_ends_nothing() {
    let behaviour = Behaviour { expiring: Some(Duration::from_hours(8)), ..Behaviour::default() };
    let limits = "registrations_per_minute = 1000\nthird_party_timeout = \"1s\"\n".to_owned();
    let gateway = Setup { behaviour, limits, ..Setup::default() }.start().await;
    let (client, tokens) = gateway.tokens(&ADA).await;
    let mut refresh = tokens.refresh;
    for health in [Health::ServerError, Health::HangUp, Health::Hang] {
        gateway.forward(Duration::from_hours(8));
        gateway.third_party.behave(|behaviour| {
            (behaviour.token_endpoint, behaviour.api) = (health, health);
        });
        // Its token has expired and cannot be replaced: nobody is given tokens of ours that lead nowhere, nothing ends.
        let asked = client.try_refresh(&refresh).await;
        assert_eq!((asked.status, asked.header("retry-after")), (503, Some("5")), "{health:?}");
        assert_eq!(asked.json()["error"], "temporarily_unavailable");
        gateway.third_party.behave(|behaviour| {
            (behaviour.token_endpoint, behaviour.api) = (Health::Normal, Health::Normal);
        });
        // Nobody asks again at once after a failure.
        gateway.forward(Duration::from_secs(3));
        let fresh = client.refresh(&refresh).await;
        assert_eq!(gateway.whoami(&fresh.access).await, "ada", "{health:?}");
        refresh = fresh.refresh;
    }
}
