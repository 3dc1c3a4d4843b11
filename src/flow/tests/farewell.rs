//! The end of a person's links at a third party that can only end everything at once.

use std::time::Duration;

use super::{World, journey::settle, provider, query};
use crate::domain::{link::FAREWELL, provider::Provider};

fn all_or_nothing() -> World {
    World::at(Provider { revoke_ends_only_this_token: false, ..provider() })
}

/// A client with tokens, as (client id, refresh token).
async fn connected(world: &World) -> (String, String) {
    let client = world.register().await;
    let code = world.code(&client).await;
    let tokens = world.redeem(&client, &code).await.unwrap();
    (client, secrecy::ExposeSecret::expose_secret(&tokens.refresh_token).to_owned())
}

async fn leaves(world: &World, client: &str, token: &str) {
    world.flows.revoke(super::credentials(client), token.into()).await.unwrap();
    settle().await;
}

async fn later(world: &World, span: Duration) {
    world.clock.forward(span);
    world.flows.sweep().await.unwrap();
    settle().await;
}

#[tokio::test]
async fn the_last_link_takes_everything_along_after_ten_minutes() {
    let mut world = all_or_nothing();
    let (client, token) = connected(&world).await;
    leaves(&world, &client, &token).await;
    assert_eq!(world.third.alive().len(), 1, "not at once");
    later(&world, FAREWELL / 2).await;
    assert_eq!(world.third.alive().len(), 1, "not too early");
    // A crash in between forgets nothing.
    world.restart();
    later(&world, FAREWELL).await;
    assert!(world.third.alive().is_empty());
}

#[tokio::test]
async fn somebody_who_connects_again_in_time_keeps_what_they_have() {
    let world = all_or_nothing();
    let (client, token) = connected(&world).await;
    leaves(&world, &client, &token).await;
    later(&world, FAREWELL / 2).await;
    let (_, _) = connected(&world).await;
    later(&world, FAREWELL * 3).await;
    assert_eq!(world.third.alive().len(), 2, "the new tokens would have died with the old ones");
}

#[tokio::test]
async fn another_link_of_the_person_keeps_everything_alive() {
    let world = all_or_nothing();
    let (client, token) = connected(&world).await;
    // The same person with other third-party scopes: another link.
    let other = world.register().await;
    let mut asked = query(&other);
    asked.scope = Some("write".to_owned());
    let page = world.flows.authorize(asked, None, None).await.unwrap();
    let cookie = page.set_render_cookie.unwrap().expose().to_owned();
    let departed = world.approve(&page.form, &cookie).await.unwrap();
    let code = super::code_of(world.come_back(&departed, None).await.unwrap()).unwrap();
    world.redeem(&other, &code).await.unwrap();
    leaves(&world, &client, &token).await;
    later(&world, FAREWELL * 2).await;
    assert_eq!(world.third.alive().len(), 2);
}
