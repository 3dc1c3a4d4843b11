//! How long the pieces of the request path take, each by itself. `cargo bench -p mcp-deputy-micro --bench micro`
//!
//! Figures of one machine, to compare before and after a change on it; the budget that CI holds is counted in instructions
//! (`instructions.rs`). What a whole request costs, with sockets and HTTP, is another benchmark.

mod messages;
mod world;

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{BatchSize, Criterion};
use mcp_deputy::{
    flow::ports::{Purpose, Sealer as _},
    proxy::{
        Credential,
        headers::{clean_request, clean_response},
    },
};
use world::World;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    admission(&mut criterion, &World::new());
    header_cleaning(&mut criterion);
    seals(&mut criterion);
    criterion.final_summary();
}

/// With a warm cache, as for every request but the first of a token within `tokens.cache_ttl`.
fn admission(criterion: &mut Criterion, world: &World) {
    let mut tokens = world.tokens.iter().cycle();
    let mut next = move || tokens.next().expect("there are tokens").as_str();
    criterion.bench_function("token look-up", |bencher| {
        bencher.iter(|| assert!(black_box(&world.sessions).have_seen(next())));
    });
    criterion.bench_function("admission", |bencher| {
        bencher.iter_custom(|times| world.runtime.block_on(admissions(world, times)));
    });
}

/// How long so many take, one after the other.
async fn admissions(world: &World, times: u64) -> Duration {
    let World { flows, sessions, tokens, resource, .. } = world;
    #[expect(clippy::disallowed_methods, reason = "a benchmark looks at the clock")]
    let begin = Instant::now();
    for (token, _) in tokens.iter().cycle().zip(0..times) {
        let permit = flows.admit(sessions, black_box(token), resource).await;
        black_box(permit.expect("a good token"));
    }
    begin.elapsed()
}

fn header_cleaning(criterion: &mut Criterion) {
    let credential = &Credential::Authorization;
    let (request, response) = (messages::request("token"), messages::response());
    criterion.bench_function("header cleaning: request", |bencher| {
        let clean = |headers: &mut http::HeaderMap| clean_request(black_box(headers), credential);
        bencher.iter_batched_ref(|| request.clone(), clean, BatchSize::SmallInput);
    });
    criterion.bench_function("header cleaning: answer", |bencher| {
        let clean = |headers: &mut http::HeaderMap| clean_response(black_box(headers), credential);
        bencher.iter_batched_ref(|| response.clone(), clean, BatchSize::SmallInput);
    });
}

fn seals(criterion: &mut Criterion) {
    const PURPOSE: Purpose = Purpose::ThirdPartyTokens;
    let (seals, record) = (world::seals(), record());
    let sealed = seals.seal(PURPOSE, b"link", &record).expect("a seal");
    criterion.bench_function("seal", |bencher| {
        bencher.iter(|| seals.seal(PURPOSE, b"link", black_box(&record)).expect("a seal"));
    });
    criterion.bench_function("open", |bencher| {
        bencher.iter(|| seals.open(PURPOSE, b"link", black_box(&sealed)).expect("our own seal"));
    });
}

/// Third-party tokens of a link: about as much as is sealed most of the time.
fn record() -> Vec<u8> {
    let token = "t".repeat(120);
    format!(r#"{{"access":"{token}","refresh":"{token}","expires_at":1800000000000,"scopes":["user"]}}"#)
        .into_bytes()
}
