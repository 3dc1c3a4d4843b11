//! What a flood leaves: every client of the store that nobody approved is due at once, a day later. The sweeper removes them
//! while others register; neither their answers nor memory may suffer.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    memory::anonymous,
    world::{SETTLE, World},
};

/// The clock is this far ahead: unused clients are kept for a day.
const AHEAD: Duration = Duration::from_hours(26);
/// How often somebody registers meanwhile.
const EVERY: Duration = Duration::from_millis(20);

pub async fn run(configuration: &Path) {
    let world = Arc::new(World::open_ahead(configuration, AHEAD));
    let begun = Instant::now();
    world.register().await;
    let first = begun.elapsed();

    let before = anonymous("self");
    let begun = Instant::now();
    let sweeping = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.flows.sweep().await.expect("swept") }
    });
    let (mut took, mut most) = (Vec::new(), before);
    while !sweeping.is_finished() {
        let begun = Instant::now();
        world.register().await;
        took.push(begun.elapsed());
        most = most.max(anonymous("self"));
        tokio::time::sleep(EVERY).await;
    }
    let swept = sweeping.await.expect("the round came to its end");
    let round = begun.elapsed();
    took.sort();
    let at = |part: usize| {
        took.get((took.len() * part).div_ceil(1000).saturating_sub(1)).copied().unwrap_or_default()
    };
    println!(
        "| first registration after a start | entries due | removed | round | per second | a registration meanwhile: median | p99 | memory more than before |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    let rate = swept.seen as f64 / round.as_secs_f64();
    println!(
        "| {first:.1?} | {} | {} | {round:.1?} | {rate:.0} | {:.1?} | {:.1?} | {} KiB |",
        swept.seen,
        swept.removed,
        at(500),
        at(990),
        most - before,
    );
    world.flows.settle(SETTLE).await;
}
