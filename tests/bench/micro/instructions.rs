//! The budget: how many instructions the pieces of the request path take. `tests/run instructions`
//!
//! Time on a shared machine is noise; instructions are the same every time, to about one in a thousand. This program runs
//! itself under callgrind with so many operations, and with twice as many: the difference is what the operations cost,
//! and everything around them (start, set-up, end) cancels out. What chance is left (in one run of fifteen the set-up leaves
//! a heap behind in which allocating costs more) is kept out by counting the best of three runs.
//!
//! It fails when an operation costs more than [`MORE`] times what `instructions.toml` says. `UPDATE=1` writes that file
//! anew, for a growth that is wanted; a fall is worth it as well.
//!
//! What can be compared: valgrind shows programs a processor of its own making (AVX2 at most, no SHA extensions), so
//! libraries that choose by processor choose the same on all that have AVX2. Another compiler, C library or architecture
//! is another budget: the file says what it was counted with.

mod messages;
mod world;

use std::{collections::BTreeMap, env, fs, hint::black_box, process::Command};

use http::HeaderMap;
use mcp_deputy::proxy::{
    Credential,
    headers::{clean_request, clean_response},
};
use serde::{Deserialize, Serialize};
use world::World;

/// A cost above so many times the budget fails; one below the inverse asks for a new budget.
const MORE: f64 = 1.05;
/// Runs of which the best counts.
const RUNS: usize = 3;
/// Operations of the shorter run, on what is cheap to set up again.
const MANY: usize = 20_000;
/// Operations of the shorter run, where each needs headers of its own.
const SOME: usize = 2_000;
/// The kept counts.
const BUDGET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.toml");

/// What is counted.
struct Counted {
    /// In the budget.
    name: &'static str,
    /// Operations of the shorter run.
    operations: usize,
    /// Makes ready, always in the same way, and then operates so many times.
    operate: fn(usize),
}

const COUNTED: [Counted; 4] = [
    Counted { name: "admission", operations: MANY, operate: admission },
    Counted { name: "token_look_up", operations: MANY, operate: token_look_up },
    Counted {
        name: "clean_request",
        operations: SOME,
        operate: |times| clean(&messages::request("token"), clean_request, times),
    },
    Counted {
        name: "clean_response",
        operations: SOME,
        operate: |times| clean(&messages::response(), clean_response, times),
    },
];

#[derive(Deserialize, Serialize)]
struct Budget {
    counted_with: String,
    instructions: BTreeMap<String, u64>,
}

fn main() {
    let arguments: Vec<String> = env::args().collect();
    if let [_, mode, name, times] = arguments.as_slice()
        && mode == "operate"
    {
        let counted = COUNTED.iter().find(|counted| counted.name == name).expect("a known operation");
        (counted.operate)(times.parse().expect("a number"));
        return;
    }
    let counted: BTreeMap<String, u64> =
        COUNTED.iter().map(|counted| (counted.name.to_owned(), per_operation(counted))).collect();
    if env::var_os("UPDATE").is_some() {
        write(&Budget { counted_with: tools(), instructions: counted });
    } else if !within_budget(&counted) {
        std::process::exit(1);
    }
}

/// Prints the table and says whether everything is within the budget.
fn within_budget(counted: &BTreeMap<String, u64>) -> bool {
    let text = fs::read_to_string(BUDGET).expect("instructions.toml is there");
    let budget: Budget = toml::from_str(&text).expect("instructions.toml is a budget");
    let (mut dearer, mut cheaper) = (Vec::new(), Vec::new());
    println!("{:16} {:>8} {:>8}", "instructions of", "budget", "counted");
    for (name, now) in counted {
        let Some(allowed) = budget.instructions.get(name) else {
            println!("{name:16} {:>8} {now:>8}", "none");
            dearer.push(name);
            continue;
        };
        #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
        let ratio = *now as f64 / *allowed as f64;
        println!("{name:16} {allowed:>8} {now:>8}  {:+.1} %", (ratio - 1.0) * 100.0);
        if ratio > MORE {
            dearer.push(name);
        } else if ratio < 1.0 / MORE {
            cheaper.push(name);
        }
    }
    if !dearer.is_empty() {
        println!("over the budget by more than {:.0} %: {dearer:?}", (MORE - 1.0) * 100.0);
        let here = tools();
        if here != budget.counted_with {
            println!("perhaps since it was counted with {:?}, and this is {here:?}", budget.counted_with);
        }
    }
    if !cheaper.is_empty() {
        println!("well below the budget: {cheaper:?}. Keep it so with a new one.");
    }
    if !(dearer.is_empty() && cheaper.is_empty()) {
        println!("A new budget: UPDATE=1 tests/run instructions (and say why in the commit)");
    }
    dearer.is_empty()
}

fn write(budget: &Budget) {
    let table = toml::to_string(budget).expect("a table");
    let head = "# The budget of tests/bench/micro/instructions.rs: instructions per operation, counted by callgrind.\n\
                # Written by: UPDATE=1 tests/run instructions\n";
    fs::write(BUDGET, format!("{head}{table}")).expect("instructions.toml can be written");
    print!("{table}");
}

/// What callgrind counts in runs of which one half operates twice as often as the other.
fn per_operation(counted: &Counted) -> u64 {
    let run = |times: usize| instructions(&["operate", counted.name, &times.to_string()]);
    let count = |times| (0..RUNS).map(|_| run(times)).min().expect("more than none");
    let (fewer, more) = (count(counted.operations), count(2 * counted.operations));
    let operations = counted.operations as u64;
    (more.checked_sub(fewer).expect("more operations cost more") + operations / 2) / operations
}

/// What callgrind counts in a run of this program with these arguments.
fn instructions(arguments: &[&str]) -> u64 {
    let this = env::current_exe().expect("the path of this program");
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(this)
        .args(arguments)
        .output()
        .expect("valgrind can be started");
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}");
    // ==4711== Collected : 123456789
    let collected = said.lines().find_map(|line| line.split_once("Collected : "));
    collected.and_then(|(_, number)| number.trim().parse().ok()).expect("callgrind says what it collected")
}

/// What a count depends on, apart from the code.
fn tools() -> String {
    let version = |program: &str| {
        let said = Command::new(program).arg("--version").output().expect("it is installed").stdout;
        String::from_utf8_lossy(&said).lines().next().unwrap_or_default().to_owned()
    };
    format!("{}, {}, {}, {}", version("rustc"), version("ldd"), version("valgrind"), env::consts::ARCH)
}

fn admission(times: usize) {
    let world = World::new();
    let World { flows, sessions, tokens, resource, .. } = &world;
    world.runtime.block_on(async {
        for (token, _) in tokens.iter().cycle().zip(0..times) {
            let permit = flows.admit(sessions, black_box(token), resource).await;
            black_box(permit.expect("a good token"));
        }
    });
}

fn token_look_up(times: usize) {
    let world = World::new();
    for (token, _) in world.tokens.iter().cycle().zip(0..times) {
        assert!(world.sessions.have_seen(black_box(token)));
    }
}

/// All headers are made before and none are dropped after, however many are cleaned: only the cleaning makes a difference.
fn clean(headers: &HeaderMap, clean: fn(&mut HeaderMap, &Credential), times: usize) {
    let mut all = vec![headers.clone(); 2 * SOME];
    for headers in all.iter_mut().take(times) {
        clean(black_box(headers), &Credential::Authorization);
    }
    std::mem::forget(all);
}
