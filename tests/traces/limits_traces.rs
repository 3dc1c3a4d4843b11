//! A flood, a collector that is gone, slow or in a bad mood: nobody waits, nothing grows, everything is counted.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use mcp_deputy::{
    observe::trace::{BATCH, Hub, QUEUE, Sampling, Sources, Step, TraceTally},
    sandbox::third_party::ADA,
};
use serde_json::json;
use tokio::{net::TcpListener, time::Instant};

use crate::{
    collector::{Collector, Manner, WORDS},
    support::{Gateway, Setup, metrics::Metrics, random, secrets},
};

async fn spans_that(gateway: &Gateway, result: &str) -> String {
    let request = http::Request::get(format!("{}/metrics", gateway.admin)).body("".into()).unwrap();
    let text = gateway.send(request).await.text();
    Metrics::read(&text);
    let name = format!("mcp_deputy_trace_spans_total{{result=\"{result}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&name)).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_flood_is_followed_as_far_as_the_operator_said() {
    let collector = Collector::start().await;
    let mut gateway = collector.setup("max_per_second = 5").start().await;
    let (_, tokens) = gateway.tokens(&ADA).await;
    // In these tests the clock stands, so all of this is one second.
    for _ in 0..20 {
        gateway.get("/authorize").await;
        gateway.whoami(&tokens.access).await;
    }
    gateway.stop().await;
    let spans = collector.spans();
    let proxied = spans.iter().filter(|span| span.step() == "mcp_request").count();
    let others = spans.iter().filter(|span| !span.step().is_empty()).count() - proxied;
    assert_eq!((proxied, others), (5, 5));
    assert_eq!(spans.iter().filter(|span| span.name == "forward").count(), 5);
}

#[tokio::test]
async fn a_collector_that_is_gone_slow_or_angry_costs_no_request_and_no_farewell() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let slow = Collector::that(Manner::Hangs).await;
    let angry = Collector::that(Manner::Says(503)).await;
    for (endpoint, may_take) in [(format!("http://{gone}"), 2), (slow.url.clone(), 5), (angry.url.clone(), 2)]
    {
        let setup = Setup { tables: format!("[tracing]\nendpoint = \"{endpoint}\"\n"), ..Setup::default() };
        let mut gateway = setup.start().await;
        let (_, tokens) = gateway.tokens(&ADA).await;
        // One batch is on its way when these come.
        tokio::time::sleep(Duration::from_millis(2500)).await;
        let begun = Instant::now();
        for _ in 0..20 {
            assert_eq!(gateway.whoami(&tokens.access).await, "ada");
        }
        assert!(begun.elapsed() < Duration::from_secs(4), "{endpoint}: {:?}", begun.elapsed());
        if endpoint != slow.url {
            assert_ne!(spans_that(&gateway, "failed").await, "0", "{endpoint}");
        }
        assert_eq!(spans_that(&gateway, "exported").await, "0", "{endpoint}");
        let begun = Instant::now();
        gateway.stop().await;
        assert!(begun.elapsed() < Duration::from_secs(may_take), "{endpoint}: {:?}", begun.elapsed());
    }
    let log = secrets::folder().join("test-logs").join(format!("it-{}.log", std::process::id()));
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("traces_not_taken") && log.contains("traces_unsent"));
    assert!(!log.contains(WORDS), "what a collector says is nobody's line");
}

#[tokio::test]
async fn headers_of_the_configuration_go_to_the_collector_and_nowhere_else() {
    let collector = Collector::start().await;
    let key = random("key-of-the-collector-");
    let mut gateway =
        collector.setup(&format!("headers = {{ authorization = \"Bearer {key}\" }}")).start().await;
    let (_, tokens) = gateway.tokens(&ADA).await;
    gateway.tool(&tokens.access, "whoami", json!({})).await;
    gateway.stop().await;
    let headers = collector.headers();
    assert!(!headers.is_empty() && !collector.spans().is_empty());
    for headers in headers {
        assert_eq!(headers["authorization"], format!("Bearer {key}"));
        assert_eq!(headers["content-type"], "application/x-protobuf");
    }
}

struct World {
    hub: Arc<Hub>,
    tally: Arc<TraceTally>,
    now: Arc<AtomicU64>,
}

fn world(ratio: f64) -> World {
    let (now, tally, drawn) = (Arc::new(AtomicU64::new(1)), Arc::<TraceTally>::default(), AtomicU64::new(0));
    let clock = Arc::clone(&now);
    let hub = Hub::new(
        Sources {
            now: Box::new(move || Duration::from_secs(clock.load(Relaxed))),
            chance: Box::new(move |out| {
                let number = drawn.fetch_add(1, Relaxed) + 1;
                out.iter_mut()
                    .zip(number.to_be_bytes().iter().rev())
                    .for_each(|(byte, drawn)| *byte = *drawn);
                true
            }),
        },
        Arc::clone(&tally),
    );
    hub.follow(Some(Sampling { ratio, per_second: u32::MAX, follows_clients: false }));
    World { hub, tally, now }
}

#[test]
fn a_full_queue_forgets_and_counts() {
    let World { hub, tally, .. } = world(1.0);
    for _ in 0..QUEUE + 100 {
        hub.tracer().enters(Step::Of("token"), [0; 6], "POST", "/token").ends(200, "");
    }
    assert_eq!(tally.dropped.load(Relaxed), 100);
    let mut waited = 0;
    while let batch @ 1.. = hub.batch().len() {
        assert!(batch <= BATCH);
        waited += batch;
    }
    assert_eq!(waited, QUEUE);
}

#[test]
fn a_journey_is_joined_once_in_time_and_only_where_it_is_followed() {
    let World { hub, now, .. } = world(0.5);
    let (followed, unfollowed) = ([0; 6], [0xff; 6]);
    let enters = |id| hub.tracer().enters(Step::Of("step"), id, "GET", "/step");
    for (first, later, joined) in [(followed, 60, true), (followed, 3601, false), (unfollowed, 60, false)] {
        let begun = enters(first);
        begun.span().leads_to("what it gave away");
        begun.ends(200, "");
        let first = hub.batch();
        now.fetch_add(later, Relaxed);
        for again in [false, true] {
            let next = enters(unfollowed);
            next.span().comes_from(Some("what it gave away"));
            next.ends(200, "");
            let next = hub.batch();
            assert_eq!(!next.is_empty(), joined && !again, "{later} {again}");
            if let Some(next) = next.first() {
                assert_eq!((next.trace, next.parent.unwrap().id), (first[0].trace, first[0].id));
            }
        }
    }
}

#[test]
fn whoever_goes_away_is_seen_and_what_is_said_later_is_not_heard() {
    let World { hub, .. } = world(1.0);
    let entered = hub.tracer().enters(Step::Proxied, [0; 6], "POST", "/mcp");
    let span = entered.span();
    span.admitted(&http::HeaderMap::new());
    let mut headers = http::HeaderMap::new();
    drop(span.leg(&mut headers, "/mcp"));
    drop(entered);
    span.streams();
    let spans = hub.batch();
    let outcome = |at: usize| format!("{:?}", spans[at].attributes.last().unwrap().1);
    assert_eq!(spans.len(), 2);
    assert!(outcome(0).contains("nobody_waits") && outcome(1).contains("client_gone"), "{spans:#?}");
    assert!(headers["traceparent"].to_str().unwrap().ends_with("-01"));
}
