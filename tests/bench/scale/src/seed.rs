//! Fills a store by the steps themselves, many at a time: clients register, and the first of them are approved, each by a
//! person of its own, and redeem their codes. No record is made by hand.

use std::{
    fs,
    io::Write as _,
    path::Path,
    sync::{Arc, Mutex},
    time::Instant,
};

use secrecy::ExposeSecret as _;

use crate::{
    memory::{anonymous, mib, on_disk},
    rates::measured,
    world::{SETTLE, World, folder, settings},
};

/// Steps under way at once.
const AT_ONCE: usize = 256;

/// Adds clients and grants to what the folder already has, until it has these numbers, then ends *without* closing the store,
/// as a `kill -9` would: what is opened next has everything that this process wrote still to recover.
pub async fn run(configuration: &Path, clients: u64, grants: u64) {
    let beside = configuration.parent().expect("it lies in a folder");
    let mut done = Done::read(beside);
    let world = Arc::new(World::open(configuration));
    let begun = Instant::now();

    let fresh = clients.saturating_sub(done.clients);
    let wanted = usize::try_from(grants.saturating_sub(done.grants)).expect("few");
    let registered = Arc::new(Mutex::new(Vec::new()));
    measured(&world, AT_ONCE, usize::try_from(fresh).expect("few"), |world, _| {
        let registered = Arc::clone(&registered);
        async move {
            let client = world.register().await;
            let mut registered = registered.lock().expect("not poisoned");
            if registered.len() < wanted {
                registered.push(client);
            }
        }
    })
    .await;
    done.clients += fresh;

    let registered = registered.lock().expect("not poisoned").clone();
    let tokens = Arc::new(Mutex::new(Vec::new()));
    let first = done.grants;
    measured(&world, AT_ONCE, wanted, |world, number| {
        let (client, tokens) = (registered[number].clone(), Arc::clone(&tokens));
        let person = (1_000_000_000 + first + number as u64).to_string();
        async move {
            let code = world.authorize(&client, &person).await;
            let answer = world.redeem(&client, &code).await;
            tokens.lock().expect("not poisoned").push(answer.access_token.expose_secret().to_owned());
        }
    })
    .await;
    done.grants += wanted as u64;
    world.flows.settle(SETTLE).await;
    done.write(beside);

    let tokens = tokens.lock().expect("not poisoned");
    let mut file = fs::File::options().create(true).append(true).open(beside.join("tokens")).expect("a file");
    for token in tokens.iter() {
        writeln!(file, "{token}").expect("written");
    }
    println!(
        "{} clients and {} grants after {:.0?}; the store takes {}, this process {} KiB",
        done.clients,
        done.grants,
        begun.elapsed(),
        mib(on_disk(&folder(&settings(configuration)))),
        anonymous("self"),
    );
    std::io::stdout().flush().expect("printed");
    std::process::abort();
}

/// How much a folder has.
#[derive(Default)]
struct Done {
    clients: u64,
    grants: u64,
}

impl Done {
    fn read(folder: &Path) -> Self {
        let text = fs::read_to_string(folder.join("seeded")).unwrap_or_default();
        let mut numbers = text.split_whitespace().map(|number| number.parse().expect("a number"));
        Self { clients: numbers.next().unwrap_or(0), grants: numbers.next().unwrap_or(0) }
    }

    fn write(&self, folder: &Path) {
        fs::write(folder.join("seeded"), format!("{} {}", self.clients, self.grants)).expect("written");
    }
}
