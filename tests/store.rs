//! The embedded store against a real `kill -9`.
//!
//! The test starts itself again as a child that works on a store and says on its standard output what was acknowledged to
//! it and what it saw. The parent kills it at some moment, opens the store and holds it to every word: what was
//! acknowledged is there, and nobody saw what the crash undid. Where the store was a round before, it still is.
//!
//! The same test with the sync left out must find losses: that shows that it can.

#[cfg(test)]
mod crash {
    use std::{
        collections::{BTreeMap, BTreeSet},
        env,
        io::{BufRead as _, BufReader, Write as _},
        path::Path,
        process::{Command, Stdio},
        sync::{Arc, mpsc},
        thread,
        time::Duration,
    };

    use bytes::Bytes;
    use mcp_deputy::{
        flow::{
            fault::Fault,
            ports::{Change, Expect, Key, Store, Table, Version, Versioned, Written},
        },
        store::disk::{DiskOptions, DiskStore},
    };
    use tempfile::TempDir;

    /// How many of everything work beside each other.
    const LANES: u64 = 4;
    /// How many codes of a lane exist before the child starts.
    const PREPARED: u64 = 25;

    /// How long the values are that are rotated, in bytes.
    const WIDTH: usize = 3_000;
    /// The log takes turns after so many bytes, so that many crashes hit a fold.
    const TURN: u64 = 64 * 1024;

    const STORE: &str = "MCP_DEPUTY_TEST_STORE";
    const ROUND: &str = "MCP_DEPUTY_TEST_ROUND";
    const WITHOUT_SYNC: &str = "MCP_DEPUTY_TEST_WITHOUT_SYNC";

    #[test]
    fn what_was_acknowledged_or_seen_survives_kill_9() {
        let folder = TempDir::new().unwrap();
        let mut history = History::default();
        for round in 0..24 {
            history.crash_and_compare(&folder.path().join("data"), round, false);
        }
        assert_eq!(history.broken, Vec::<String>::new());
        // It must have been about something.
        assert!(folder.path().join("data/log.1").exists(), "the log never took a turn");
        for word in ["rotated", "saw", "took", "lost", "gone"] {
            let count = history.words.get(word).copied().unwrap_or_default();
            assert!(count > 100, "the children said {word:?} only {count} times");
        }
    }

    #[test]
    fn the_crash_test_notices_a_store_that_does_not_sync() {
        let folder = TempDir::new().unwrap();
        let mut history = History::default();
        for round in 0..4 {
            history.crash_and_compare(&folder.path().join("data"), round, true);
        }
        for loss in ["but now", "took"] {
            assert!(history.broken.iter().any(|line| line.contains(loss)), "missed that {loss:?} was undone");
        }
    }

    /// The child. Returns at once when it is run as a test like the others.
    #[test]
    fn child() {
        let Some(path) = env::var_os(STORE) else { return };
        let round = env::var(ROUND).unwrap();
        let mut options = DiskOptions::default();
        options.hooks.unsafe_without_sync = env::var_os(WITHOUT_SYNC).is_some();
        options.hooks.turn = TURN;
        if round.ends_with(['1', '3', '5', '7', '9']) {
            // A slow disk: most of the time something is applied and not durable, so the crash most likely undoes it.
            options.hooks.before_sync = Arc::new(|| {
                thread::sleep(Duration::from_millis(3));
                Ok(())
            });
        }
        let store = Arc::new(DiskStore::open(Path::new(&path), options).unwrap());

        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
        runtime.block_on(async {
            for lane in 0..LANES {
                tokio::spawn(rotate(Arc::clone(&store), rotated(&round, lane), lane));
                tokio::spawn(watch(Arc::clone(&store), rotated(&round, lane), lane));
                tokio::spawn(make_and_take(Arc::clone(&store), round.clone(), lane));
            }
            // Somebody ends it. If nobody does, the parent is gone.
            tokio::time::sleep(Duration::from_mins(1)).await;
        });
    }

    /// Puts 0, 1 and 2, deletes, puts 4, and so on; says which step was acknowledged.
    async fn rotate(store: Arc<DiskStore>, key: Key, lane: u64) {
        let mut expect = Expect::Absent;
        for step in 0_u64.. {
            let change =
                if deletes(step) { Change::Delete } else { Change::Put(format!("{step:<WIDTH$}").into()) };
            let version = applied(store.write(key.clone(), expect, change).await.unwrap());
            expect = if deletes(step) { Expect::Absent } else { Expect::Version(version) };
            say(&format!("rotated {lane} {step}"));
        }
    }

    /// Reads what another task rotates, and says what it saw.
    async fn watch(store: Arc<DiskStore>, key: Key, lane: u64) {
        let mut last = None;
        loop {
            let stored = store.read(&key).await.unwrap().map(|stored| number(&stored));
            if let Some(step) = stored.filter(|_| stored != last) {
                say(&format!("saw {lane} {step}"));
            }
            last = stored;
            tokio::task::yield_now().await;
        }
    }

    /// Lets three tasks race to take a code, and two others find out that it is gone; one code after the other. The first
    /// ones were there before, later ones are made here.
    async fn make_and_take(store: Arc<DiskStore>, round: String, lane: u64) {
        for code in 0_u64.. {
            let key = self::code(&round, lane, code);
            let version = if code < PREPARED {
                store.read(&key).await.unwrap().unwrap().version
            } else {
                applied(store.write(key.clone(), Expect::Absent, Change::Put("x".into())).await.unwrap())
            };
            let mut racers = tokio::task::JoinSet::new();
            for racer in 0..5 {
                let (store, key) = (Arc::clone(&store), key.clone());
                racers.spawn(async move {
                    let word = match racer {
                        0 => until_unread(&*store, &key).await,
                        1 => until_unscanned(&*store, &key).await,
                        _ => take(&*store, key, version).await,
                    };
                    say(&format!("{word} {lane} {code}"));
                });
            }
            racers.join_all().await;
        }
    }

    async fn take(store: &dyn Store, key: Key, version: Version) -> &'static str {
        match store.write(key, Expect::Version(version), Change::Delete).await.unwrap() {
            Written::Applied(_) => "took",
            Written::Conflict => "lost",
        }
    }

    async fn until_unread(store: &dyn Store, key: &Key) -> &'static str {
        while store.read(key).await.unwrap().is_some() {
            tokio::task::yield_now().await;
        }
        "gone"
    }

    async fn until_unscanned(store: &dyn Store, key: &Key) -> &'static str {
        while !store.scan(key.table, &key.id, None, 1).await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        "gone"
    }

    fn say(line: &str) {
        // One write, so that a line is there whole or not at all. The sign tells it from what the test harness prints.
        std::io::stdout().lock().write_all(format!("\n@{line}\n").as_bytes()).unwrap();
        std::io::stdout().flush().unwrap();
    }

    /// What the parent knows from earlier rounds, and what it found broken.
    #[derive(Default)]
    struct History {
        state: BTreeMap<Bytes, Versioned>,
        words: BTreeMap<&'static str, u64>,
        broken: Vec<String>,
    }

    impl History {
        /// Lets a child work on the store, kills it, and compares what it said with what is left.
        fn crash_and_compare(&mut self, path: &Path, round: u64, without_sync: bool) {
            prepare_codes(path, round);
            let said = work_and_kill(path, round, without_sync);
            match read_all(path) {
                Ok(found) => self.compare(&found, &said, &round.to_string()),
                Err(fault) => self.broken.push(format!("round {round}: {fault:?}")),
            }
        }

        fn compare(&mut self, found: &BTreeMap<Bytes, Versioned>, said: &[Said], round: &str) {
            let mine = format!("{round}/");
            let older = found.iter().filter(|(id, _)| !id.starts_with(mine.as_bytes()));
            if older.ne(&self.state) {
                self.broken.push(format!("round {round}: what an earlier round left has changed"));
            }
            self.state.clone_from(found);

            let mut last_steps = BTreeMap::new();
            let mut taken = BTreeSet::new();
            for line in said {
                let Said { word, lane, number } = *line;
                *self.words.entry(word).or_default() += 1;
                if let "rotated" | "saw" = word {
                    let last: &mut Said = last_steps.entry(lane).or_insert(*line);
                    *last = if last.number > number { *last } else { *line };
                    continue;
                }
                if found.contains_key(&code(round, lane, number).id) {
                    self.broken.push(format!("round {round}: undone: {line:?}"));
                }
                if word == "took" && !taken.insert((lane, number)) {
                    self.broken.push(format!("round {round}: taken twice: {line:?}"));
                }
            }
            for (lane, last) in last_steps {
                // The step after the last one that was spoken of may have been done; no other one.
                let possible = [last.number, last.number + 1].map(|step| (!deletes(step)).then_some(step));
                let stored = found.get(&rotated(round, lane).id).map(number);
                if !possible.contains(&stored) {
                    self.broken.push(format!("round {round}: undone: {last:?}, but now {stored:?}"));
                }
            }
        }
    }

    /// A line of the child.
    #[derive(Clone, Copy, Debug)]
    struct Said {
        word: &'static str,
        lane: u64,
        number: u64,
    }

    impl Said {
        fn parse(text: &str) -> Self {
            let [word, lane, number] = text.split(' ').collect::<Vec<_>>().try_into().unwrap();
            let word =
                ["rotated", "saw", "took", "lost", "gone"].into_iter().find(|known| *known == word).unwrap();
            Self { word, lane: lane.parse().unwrap(), number: number.parse().unwrap() }
        }
    }

    fn prepare_codes(path: &Path, round: u64) {
        let store = DiskStore::open(path, DiskOptions::default()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            for (lane, number) in (0..LANES).flat_map(|lane| (0..PREPARED).map(move |number| (lane, number)))
            {
                let key = code(&round.to_string(), lane, number);
                applied(store.write(key, Expect::Absent, Change::Put("x".into())).await.unwrap());
            }
        });
    }

    fn read_all(path: &Path) -> Result<BTreeMap<Bytes, Versioned>, Fault> {
        let store = DiskStore::open(path, DiskOptions::default())?;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        Ok(runtime.block_on(store.scan(Table::Grant, b"", None, usize::MAX))?.into_iter().collect())
    }

    /// Every fourth step of a rotation deletes.
    fn deletes(step: u64) -> bool {
        step % 4 == 3
    }

    fn work_and_kill(path: &Path, round: u64, without_sync: bool) -> Vec<Said> {
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(["crash::child", "--exact", "--nocapture"])
            .env(STORE, path)
            .env(ROUND, round.to_string());
        if without_sync {
            command.env(WITHOUT_SYNC, "1");
        }
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let output = child.stdout.take().unwrap();
        let (said, lines) = mpsc::channel();
        let listener = thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n') {
                let line = String::from_utf8(line.unwrap()).unwrap();
                if let Some(line) = line.strip_prefix('@') {
                    said.send(Said::parse(line)).unwrap();
                }
            }
        });

        // Moments that differ from round to round; every third one counts from the start of the process, to hit the
        // opening of the store as well.
        let moment = round * 7919 % 97;
        let mut heard = Vec::new();
        if round % 3 != 2 || without_sync {
            heard.extend(lines.recv_timeout(Duration::from_secs(30)));
            thread::sleep(Duration::from_millis(20 + 2 * moment));
        } else {
            thread::sleep(Duration::from_millis(moment));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        listener.join().unwrap();
        heard.extend(lines);
        heard
    }

    fn rotated(round: &str, lane: u64) -> Key {
        Key::new(Table::Grant, format!("{round}/rotated/{lane}"))
    }

    fn code(round: &str, lane: u64, code: u64) -> Key {
        Key::new(Table::Grant, format!("{round}/code/{lane}/{code:06}"))
    }

    fn number(stored: &Versioned) -> u64 {
        std::str::from_utf8(&stored.value).unwrap().trim_end().parse().unwrap()
    }

    fn applied(written: Written) -> Version {
        match written {
            Written::Applied(version) => version,
            Written::Conflict => panic!("lost against nobody"),
        }
    }
}
