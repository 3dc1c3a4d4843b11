//! How many of each step are done in a second, and how long one takes, with 1, 64 and 256 at a time. Every write is durable
//! before a step ends: this is the store in its folder, with its syncs.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use mcp_deputy::flow::ports::{Change, Expect, Key, Table};
use secrecy::ExposeSecret as _;
use tokio::task::JoinSet;

use crate::world::World;

/// How many at a time.
const WIDTHS: [usize; 3] = [1, 64, 256];
/// Rounds of each; the table shows the median.
const ROUNDS: usize = 5;

pub async fn run(configuration: &Path) {
    let world = Arc::new(World::open(configuration));
    println!("| step | at a time | per second | one takes | against one alone |");
    println!("| --- | ---: | ---: | ---: | ---: |");
    let mut alone: [Duration; 5] = [Duration::ZERO; 5];
    for width in WIDTHS {
        let mut rounds: Vec<[(f64, Duration); 5]> = Vec::new();
        for _ in 0..ROUNDS {
            rounds.push(round(&world, width).await);
        }
        for (step, name) in
            ["one write", "registration", "authorization", "redemption", "refresh"].iter().enumerate()
        {
            let mut rates: Vec<f64> = rounds.iter().map(|round| round[step].0).collect();
            let mut times: Vec<Duration> = rounds.iter().map(|round| round[step].1).collect();
            rates.sort_by(f64::total_cmp);
            times.sort();
            let (rate, time) = (rates[ROUNDS / 2], times[ROUNDS / 2]);
            if width == 1 {
                alone[step] = time;
            }
            let ratio = time.as_secs_f64() / alone[step].as_secs_f64();
            println!("| {name} | {width} | {rate:.0} | {:.2} ms | {ratio:.1} × |", time.as_secs_f64() * 1e3);
        }
    }
    world.flows.settle(crate::world::SETTLE).await;
}

/// Everything once, `width` at a time: rate and mean duration of each step.
async fn round(world: &Arc<World>, width: usize) -> [(f64, Duration); 5] {
    let count = if width == 1 { 100 } else { width * 8 };
    let clients = Arc::new(Mutex::new(Vec::new()));
    let codes = Arc::new(Mutex::new(Vec::new()));
    let tokens = Arc::new(Mutex::new(Vec::new()));

    let write = measured(world, width, count, |world, number| async move {
        let id = format!("{number:08}-{:?}", Instant::now());
        let value = Change::Put(vec![b'x'; 600].into());
        world
            .store
            .write(Key::new(Table::Index, format!("x{id}")), Expect::Absent, value)
            .await
            .expect("written");
    });
    let write = write.await;
    let registration = measured(world, width, count, |world, _| {
        let clients = Arc::clone(&clients);
        async move {
            let client = world.register().await;
            clients.lock().expect("not poisoned").push(client);
        }
    });
    let registration = registration.await;
    let known = clients.lock().expect("not poisoned").clone();
    let authorization = measured(world, width, count, |world, number| {
        let (client, codes) = (known[number].clone(), Arc::clone(&codes));
        async move {
            let code = world.authorize(&client, &fresh_person()).await;
            codes.lock().expect("not poisoned").push((client, code));
        }
    });
    let authorization = authorization.await;
    let given = codes.lock().expect("not poisoned").clone();
    let redemption = measured(world, width, count, |world, number| {
        let ((client, code), tokens) = (given[number].clone(), Arc::clone(&tokens));
        async move {
            let answer = world.redeem(&client, &code).await;
            tokens.lock().expect("not poisoned").push((client, answer));
        }
    });
    let redemption = redemption.await;
    let held = tokens.lock().expect("not poisoned").clone();
    let refresh = measured(world, width, count, |world, number| {
        let (client, answer) = held[number].clone();
        async move {
            let next = world.refresh(&client, &answer.refresh_token).await;
            assert_ne!(next.refresh_token.expose_secret(), answer.refresh_token.expose_secret());
        }
    });
    [write, registration, authorization, redemption, refresh.await]
}

/// `count` calls of `step`, `width` at a time: calls per second, and how long one took in the mean.
pub async fn measured<F: Future<Output = ()> + Send + 'static>(
    world: &Arc<World>,
    width: usize,
    count: usize,
    step: impl Fn(Arc<World>, usize) -> F,
) -> (f64, Duration) {
    let next = AtomicUsize::new(0);
    let begun = Instant::now();
    let mut under_way = JoinSet::new();
    let mut spent = Duration::ZERO;
    loop {
        while under_way.len() < width {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                break;
            }
            let step = step(Arc::clone(world), number);
            under_way.spawn(async move {
                let begun = Instant::now();
                step.await;
                begun.elapsed()
            });
        }
        match under_way.join_next().await {
            Some(took) => spent += took.expect("the step worked"),
            None => break,
        }
    }
    let rate = count as f64 / begun.elapsed().as_secs_f64();
    (rate, spent / u32::try_from(count).expect("few"))
}

fn fresh_person() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let process = std::process::id();
    format!("9{process:07}{:08}", NEXT.fetch_add(1, Ordering::Relaxed))
}
