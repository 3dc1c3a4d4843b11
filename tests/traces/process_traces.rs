//! The real binary: another collector without a restart, and the last spans when it ends.

use crate::{
    collector::{Collector, only},
    support::{PATIENCE, process::World},
};

/// What comes to a collector, once anything has.
async fn arrived(collector: &Collector) {
    let some = async {
        while collector.headers().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, some).await.expect("nothing comes to the collector");
}

#[tokio::test]
async fn another_collector_needs_no_restart_and_the_last_spans_come_before_the_end() {
    let (one, two) = (Collector::start().await, Collector::start().await);
    let mut world = World::new().await;
    let mut process = world.start().await;
    world.client("Before anything is followed").await;
    world.rewrite(|text| format!("{text}\n[tracing]\nendpoint = \"{}\"\n", one.url));
    process.hang_up();
    process.journaled("configuration_reloaded", 1).await;
    let client = world.client("App").await;
    arrived(&one).await;
    world.rewrite(|text| text.replace(&one.url, &two.url));
    process.hang_up();
    process.journaled("configuration_reloaded", 2).await;
    world.visitor().tokens(&client).await;
    process.terminate();
    process.ended().await;
    let (first, second) = (one.spans(), two.spans());
    let registration = only(&first, "registration");
    assert_eq!(first.len(), 1, "{first:#?}");
    // The journey goes on from one to the other.
    let page = only(&second, "authorization_request");
    assert_eq!((&page.trace, &page.parent), (&registration.trace, &registration.id));
    let token = only(&second, "token");
    assert_eq!(token.trace, page.trace);
    // By a clock that runs.
    assert!(token.begun > page.ended && token.ended > token.begun, "{second:#?}");
}
