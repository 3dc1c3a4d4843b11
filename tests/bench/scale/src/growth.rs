//! What a request costs against how much there is of everything: servers, scopes, tools in the policy, sessions that a worker
//! remembers. Each line should be flat, or grow like a logarithm. How cost grows with the store is in `lookups`.

use std::{
    collections::BTreeMap,
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use mcp_deputy::{
    config,
    domain::{
        catalog::{Catalog, McpServer, ScopeDefinition},
        resource::Resource,
        scope::ScopeSet,
        tools::{ToolCall, ToolPattern},
    },
    flow::admit::Sessions,
    proxy::{listing::Sight, message::Messages},
    store::memory::MemoryStore,
};
use secrecy::ExposeSecret as _;
use serde::de::IgnoredAny;

use crate::{configuration, world::World};

const SIZES: [usize; 4] = [1, 10, 100, 1000];
const HOST: &str = "https://gateway.example";

pub async fn run() {
    println!("| what | 1 | 10 | 100 | 1000 | 10000 |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    servers();
    scopes();
    tools();
    sessions().await;
    body();
}

fn servers() {
    let of = |count| Catalog {
        public_url: HOST.to_owned(),
        servers: (0..count).map(|number| server(&format!("/mcp/{number:05}"), 1, 0)).collect(),
        providers: BTreeMap::new(),
        resource_servers: vec![],
    };
    let last = |count: usize| format!("/mcp/{:05}", count - 1);
    row("servers: the server of a path", SIZES, |count| {
        let (catalog, path) = (of(count), last(count));
        mean(|| catalog.server_at(black_box(&path)).is_some())
    });
    row("servers: the server of a resource", SIZES, |count| {
        let (catalog, resource) = (of(count), Resource::at(HOST, &last(count)));
        mean(|| catalog.server_of(black_box(&resource)).is_some())
    });
}

fn scopes() {
    row("scopes of a server: a call is judged", SIZES, |count| {
        let (server, held) = (server("/mcp", count, 1), ScopeSet::from_iter([format!("scope{}", count - 1)]));
        let tool = format!("tool-{}-0", count - 1);
        mean(|| server.judge_call(&held, black_box(&tool)) == ToolCall::Allowed)
    });
}

fn tools() {
    const MORE: [usize; 5] = [1, 10, 100, 1000, 10000];
    let of = |count: usize| server("/mcp", 10.min(count), count.div_ceil(10));
    let last = |count: usize| format!("tool-{}-{}", 10.min(count) - 1, count.div_ceil(10) - 1);
    row("tools in the policy: a call is judged", MORE, |count| {
        let (server, held) = (of(count), ScopeSet::from_iter([format!("scope{}", 10.min(count) - 1)]));
        let tool = last(count);
        mean(|| server.judge_call(&held, black_box(&tool)) == ToolCall::Allowed)
    });
    row("tools in the policy: a call that nobody may make is refused", MORE, |count| {
        let (server, held) = (of(count), ScopeSet::from_iter(["scope0"]));
        mean(|| server.judge_call(&held, black_box("unheard-of")) == ToolCall::Unnamed)
    });
    row("tools in the policy: a list of 100 is filtered, per tool", MORE, |count| {
        let (server, held) = (of(count), ScopeSet::from_iter([format!("scope{}", 10.min(count) - 1)]));
        let names: Vec<String> = (0..100).map(|_| format!(r#"{{"name":"{}"}}"#, last(count))).collect();
        let list = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":[{}]}}}}"#, names.join(","));
        mean(|| Sight::new(&server, &held, true).filter(black_box(&list)).expect("a list").is_some()) / 100
    });
}

/// A token that was seen before, where the worker remembers so many.
async fn sessions() {
    const MORE: [usize; 5] = [1, 10, 100, 1000, 10000];
    let folder = std::env::temp_dir().join(format!("mcp-deputy-scale-{}", std::process::id()));
    let path = configuration::prepare(&folder);
    let settings = config::load(Some(&path), &|_| None).expect("it was just written");
    std::fs::remove_dir_all(&folder).expect("it was just made");
    let world = World::over(&settings, Arc::new(MemoryStore::new()), Duration::ZERO);
    let here = Resource::at(&world.public_url, "/mcp");
    let sessions = Sessions::with_capacity(10_000);
    let client = world.register().await;
    let (mut tokens, mut cells) = (Vec::new(), Vec::new());
    for count in MORE {
        while tokens.len() < count {
            let code = world.authorize(&client, &format!("1{:09}", tokens.len())).await;
            let token = world.redeem(&client, &code).await.access_token;
            assert!(world.flows.admit(&sessions, token.expose_secret(), &here).await.is_ok());
            tokens.push(token);
        }
        // Within the ten seconds for which a session is believed.
        for token in &tokens {
            assert!(world.flows.admit(&sessions, token.expose_secret(), &here).await.is_ok());
        }
        let begun = Instant::now();
        let mut rounds = 0;
        while begun.elapsed() < Duration::from_secs(2) {
            for number in 0..1000 {
                let token = &tokens[number * 7919 % tokens.len()];
                assert!(world.flows.admit(&sessions, token.expose_secret(), &here).await.is_ok());
            }
            rounds += 1000;
        }
        cells.push(begun.elapsed() / rounds);
    }
    cells_row("sessions and grants: a token that was seen before is admitted", &cells);
}

/// The policy's pass over a body, against the least that a parser of JSON can do: to skip it.
fn body() {
    let text = "x".repeat(64);
    let numbers: Vec<String> =
        (0..16).map(|number| format!(r#"{{"n":{number},"t":"{text}","l":[1,2.5,null,true]}}"#)).collect();
    let arguments = format!("[{}]", numbers.join(","));
    let count = 1024 * 1024 / arguments.len();
    let all = vec![arguments; count].join(",");
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"tool","arguments":{{"all":[{all}]}}}}}}"#
    );
    let skipped = mean(|| serde_json::from_slice::<IgnoredAny>(black_box(body.as_bytes())).is_ok());
    let judged = mean(|| Messages::read(black_box(body.as_bytes())).is_ok());
    let long = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"tool","arguments":{{"all":"{}"}}}}}}"#,
        "x".repeat(1024 * 1024)
    );
    let kept = mean(|| serde_json::from_slice::<serde_json::Value>(black_box(body.as_bytes())).is_ok());
    let skipped_long = mean(|| serde_json::from_slice::<IgnoredAny>(black_box(long.as_bytes())).is_ok());
    let judged_long = mean(|| Messages::read(black_box(long.as_bytes())).is_ok());
    let kept_long = mean(|| serde_json::from_slice::<serde_json::Value>(black_box(long.as_bytes())).is_ok());
    println!(
        "\n| a body of 1 MiB | skipped by serde_json | read by the policy | against skipping | kept by serde_json |"
    );
    println!("| --- | ---: | ---: | ---: | ---: |");
    for (what, skipped, judged, kept) in [
        ("many small values", skipped, judged, kept),
        ("one long string", skipped_long, judged_long, kept_long),
    ] {
        let ratio = judged.as_secs_f64() / skipped.as_secs_f64();
        println!("| {what} | {skipped:.0?} | {judged:.0?} | {ratio:.2} × | {kept:.0?} |");
    }
}

/// A server with so many scopes, each of which names so many tools.
fn server(path: &str, scopes: usize, tools: usize) -> McpServer {
    let scope = |number: usize| ScopeDefinition {
        name: format!("scope{number}"),
        description: String::new(),
        provider_scopes: ScopeSet::default(),
        default: true,
        optional: false,
        implies: vec![],
        tools: (tools > 0).then(|| {
            (0..tools).filter_map(|tool| ToolPattern::parse(&format!("tool-{number}-{tool}"))).collect()
        }),
    };
    McpServer {
        path: path.to_owned(),
        resource: Resource::at(HOST, path),
        name: "Tools".to_owned(),
        provider: "third".to_owned(),
        scopes: (0..scopes).map(scope).collect(),
        identity_assertion: false,
        filter_tools: true,
    }
}

fn row<const N: usize>(what: &str, sizes: [usize; N], cost: impl Fn(usize) -> Duration) {
    let cells: Vec<Duration> = sizes.into_iter().map(cost).collect();
    cells_row(what, &cells);
}

fn cells_row(what: &str, cells: &[Duration]) {
    let shown: Vec<String> = cells.iter().map(|cell| format!("{cell:.1?}")).collect();
    let empty = " |".repeat(5 - cells.len());
    println!("| {what} | {} |{empty}", shown.join(" | "));
}

/// The mean of a call that has to say yes: the best of several rounds, since others work on this machine as well.
fn mean(call: impl Fn() -> bool) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..7 {
        let begun = Instant::now();
        let mut calls = 0;
        while begun.elapsed() < Duration::from_millis(60) {
            for _ in 0..16 {
                assert!(black_box(call()));
            }
            calls += 16;
        }
        best = best.min(begun.elapsed() / calls);
    }
    best
}
