//! No log of the whole test run holds a secret: not plain, not URL-encoded, not base64-encoded, not in hexadecimal, not as
//! a list of bytes. Runs last (`tests/run`), over what the other tests left behind.
//!
//! Below `MCP_DEPUTY_TEST_DIR` (default `target`):
//!
//! - `test-logs/*.log`: everything that gateways, third parties and clients logged, at level trace.
//! - `test-answers/*.log`: what gateways answered, headers and bodies.
//! - `test-foreign/*.txt`: the secrets between a gateway and the third party, which no answer may hold.
//! - `test-secrets/*.txt`: one secret per line: every token, code, verifier, cookie value, key and password of the run.
//!   A line that begins with `planted-` is a control: it was logged on purpose, and must be found.
//!
//! Beside the listed ones, every string with the shape of one of our own secret handles is a leak, listed or not.
//!
//! With `MCP_DEPUTY_REQUIRE_LEAK_CHECK=1` too few secrets, no logs, or no control are failures; without it, an empty
//! folder passes, so that a plain `cargo test` works.

#[cfg(test)]
mod leaks {
    use std::{
        collections::{BTreeMap, BTreeSet, HashMap},
        env, fmt, fs,
        path::{Path, PathBuf},
    };

    use base64::{
        Engine as _,
        engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
    };

    /// Fewer secrets than this in a whole run: the harness does not write them down.
    const FEWEST_SECRETS: usize = 50;
    /// Shorter ones would be found by chance.
    const SHORTEST_SECRET: usize = 12;
    /// What a control begins with.
    const PLANTED: &str = "planted-";
    /// The prefixes of our handles that are secrets, and how many characters follow at least.
    const HANDLES: [&str; 9] = [
        "mcpd_ac_", "mcpd_at_", "mcpd_av_", "mcpd_ck_", "mcpd_cs_", "mcpd_rg_", "mcpd_rt_", "mcpd_si_",
        "mcpd_st_",
    ];
    const HANDLE_BODY: usize = 40;
    /// The length of the piece by which a pattern is recognized.
    const WINDOW: usize = 8;

    #[test]
    fn no_log_holds_a_secret() {
        let report = look(&folder());
        println!("{report}");
        assert!(report.leaks.is_empty(), "secrets in logs:\n{report}");
        assert!(report.too_short.is_empty(), "too short to tell from chance: {:?}", report.too_short);
        assert!(
            report.controls_missed.is_empty(),
            "logged on purpose and not found: {:?}",
            report.controls_missed
        );
        if is_required() {
            assert!(report.bytes > 0, "there are no logs below {}", folder().display());
            assert!(report.secrets >= FEWEST_SECRETS, "only {} secrets were written down", report.secrets);
            assert!(report.controls_found > 0, "no control was planted");
        }
    }

    #[test]
    fn no_answer_holds_a_secret_of_the_third_party() {
        let (answers, report) = look_among(&folder(), "test-foreign", "test-answers");
        println!("{report}");
        assert!(report.leaks.is_empty(), "third-party secrets in answers:\n{report}");
        if is_required() {
            assert!(answers > 0 && report.secrets >= FEWEST_SECRETS, "too little was written down: {report}");
        }
    }

    #[test]
    fn nothing_panicked() {
        let logs = files(&folder().join("test-logs"), "log");
        let panics: Vec<String> = logs.iter().flat_map(|path| panics(path)).collect();
        assert!(panics.is_empty(), "{}", panics.join("\n"));
    }

    #[test]
    fn a_panic_of_the_product_is_found_and_one_of_a_test_is_not() {
        let line =
            |place: &str| format!("{{\"level\":\"ERROR\",\"reason\":\"panicked\",\"place\":\"{place}\"}}\n");
        let run = Run::new(&[]).log(&[line("src/flow/mod.rs:1:2"), line("tests/it/x.rs:1:2")].concat());
        assert_eq!(panics(&run.folder().join("test-logs/run.log")).len(), 1);
    }

    #[test]
    fn a_foreign_secret_in_an_answer_is_found() {
        let run = Run::new(&[]);
        for (folder, name, text) in [
            ("test-foreign", "run.txt", "gho_16C7e42F292c6912E7\n"),
            ("test-answers", "run.log", "{} gho_16C7e42F292c6912E7\n"),
        ] {
            fs::create_dir_all(run.folder().join(folder)).unwrap();
            fs::write(run.folder().join(folder).join(name), text).unwrap();
        }
        assert_eq!(look_among(run.folder(), "test-foreign", "test-answers").1.leaks.len(), 1);
    }

    #[test]
    fn whatever_is_planted_is_found_in_every_writing() {
        // Long enough for every alignment of base64, with characters that every encoding writes in another way.
        let secret = "gho_16C7e42F292c6912E7+/=\"710c838347Ae178B4a";
        let hidden = [
            secret.to_owned(),
            format!("code={}&x", form_encoded(secret)),
            percent_encoded(secret, |byte| format!("%{byte:02x}")),
            serde_json::to_string(secret).unwrap(),
            hexadecimal(secret),
            format!("{:?}", secret.as_bytes()),
            STANDARD_NO_PAD.encode(format!("id:{secret}")),
            STANDARD_NO_PAD.encode(format!("i:{secret}:more")),
            URL_SAFE_NO_PAD.encode(format!("{{\"t\":\"{secret}\"}}")),
            URL_SAFE_NO_PAD.encode(secret),
        ];
        for (n, text) in hidden.iter().enumerate() {
            let run = Run::new(&[secret]).log(&format!("{{\"message\":\"{text}\"}}\n"));
            assert_eq!(look(run.folder()).leaks.len(), 1, "writing {n} was not found: {text}");
        }
        let clean = Run::new(&[secret]).log("gho_ 16C7e42F292c6912E7 is cut in two\n");
        assert!(look(clean.folder()).leaks.is_empty());
    }

    #[test]
    fn a_control_is_found_or_missed_and_is_no_leak() {
        let found = Run::new(&["planted-1f2e3d4c5b6a"]).log("on purpose: planted-1f2e3d4c5b6a\n");
        let report = look(found.folder());
        assert_eq!((report.controls_found, report.leaks.len(), report.controls_missed.len()), (1, 0, 0));
        let missed = Run::new(&["planted-1f2e3d4c5b6a"]).log("nothing\n");
        assert_eq!(look(missed.folder()).controls_missed.len(), 1);
    }

    #[test]
    fn our_own_handles_are_found_without_being_listed() {
        let token = format!("mcpd_rt_{}", "aB3-_".repeat(20));
        let run = Run::new(&[]).log(&format!("body: {token}\n"));
        let report = look(run.folder());
        assert_eq!(report.leaks.len(), 1);
        assert!(!report.to_string().contains(&token[..20]), "the report repeats the secret");
        let harmless =
            Run::new(&[]).log("mcpd_rt_… and mcpd_ci_aB3aB3aB3aB3aB3aB3aB3aB3aB3aB3aB3aB3aB3aB3aB3aB3\n");
        assert!(look(harmless.folder()).leaks.is_empty());
    }

    #[test]
    fn what_is_too_short_is_said() {
        let run = Run::new(&["hunter2"]).log("hunter2\n");
        assert_eq!(look(run.folder()).too_short.len(), 1);
    }

    /// What was found.
    #[derive(Default)]
    struct Report {
        secrets: usize,
        patterns: usize,
        logs: usize,
        bytes: usize,
        leaks: BTreeSet<String>,
        too_short: Vec<String>,
        controls_found: usize,
        controls_missed: Vec<String>,
    }

    impl fmt::Display for Report {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let Self { secrets, patterns, logs, bytes, controls_found, .. } = self;
            write!(f, "{secrets} secrets in {patterns} writings, {bytes} bytes of {logs} logs, ")?;
            write!(f, "{controls_found} controls found")?;
            self.leaks.iter().try_for_each(|leak| write!(f, "\n  {leak}"))
        }
    }

    /// One way in which one secret may be written.
    struct Pattern {
        bytes: Vec<u8>,
        /// Where in it the piece lies by which it is recognized.
        window: usize,
        secret: usize,
        writing: &'static str,
    }

    fn folder() -> PathBuf {
        env::var_os("MCP_DEPUTY_TEST_DIR")
            .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"), PathBuf::from)
    }

    fn is_required() -> bool {
        env::var_os("MCP_DEPUTY_REQUIRE_LEAK_CHECK").is_some_and(|value| value == "1")
    }

    /// Where the product panicked, by a log. Tests that fail panic as well, in files of their own.
    fn panics(log: &Path) -> Vec<String> {
        let text = fs::read(log).expect("a log can be read");
        let lines = String::from_utf8_lossy(&text).into_owned();
        let found = lines
            .lines()
            .filter(|line| line.contains("\"reason\":\"panicked\"") && line.contains("\"place\":\"src/"));
        found.map(|line| format!("{}: {line}", log.display())).collect()
    }

    /// Looks for every secret of the run in every log of the run, and for everything that looks like one of ours.
    fn look(folder: &Path) -> Report {
        let (_, mut report) = look_among(folder, "test-secrets", "test-logs");
        for path in files(&folder.join("test-logs"), "log") {
            let log = fs::read(&path).expect("a log can be read");
            for (at, prefix) in handles_in(&log) {
                let line = line_of(&log, at);
                report.leaks.insert(format!("{}:{line}: a handle of ours, {prefix}…", path.display()));
            }
        }
        report
    }

    /// Looks for every secret that is listed in one folder in every log of another. Also says how many logs there are.
    fn look_among(folder: &Path, secrets: &str, logs: &str) -> (usize, Report) {
        let mut report = Report::default();
        let listed: BTreeMap<String, String> = files(&folder.join(secrets), "txt")
            .into_iter()
            .flat_map(|path| lines_with_place(&path))
            .collect();
        report.secrets = listed.len();
        report.too_short =
            listed.iter().filter(|(s, _)| s.len() < SHORTEST_SECRET).map(|(_, at)| at.clone()).collect();
        let listed: Vec<(String, String)> =
            listed.into_iter().filter(|(s, _)| s.len() >= SHORTEST_SECRET).collect();

        let patterns: Vec<Pattern> =
            listed.iter().enumerate().flat_map(|(index, (secret, _))| writings(index, secret)).collect();
        report.patterns = patterns.len();
        let index = Index::new(&patterns);
        let mut controls = BTreeSet::new();
        for path in files(&folder.join(logs), "log") {
            let log = fs::read(&path).expect("a log can be read");
            report.logs += 1;
            report.bytes += log.len();
            for (at, pattern) in index.found_in(&log) {
                let (secret, listed_at) = &listed[pattern.secret];
                if secret.starts_with(PLANTED) {
                    controls.insert(secret);
                } else {
                    let line = line_of(&log, at);
                    let place = path.display();
                    report
                        .leaks
                        .insert(format!("{place}:{line}: the secret of {listed_at}, {}", pattern.writing));
                }
            }
        }
        report.controls_found = controls.len();
        let missed = listed.iter().filter(|(s, _)| s.starts_with(PLANTED) && !controls.contains(s));
        report.controls_missed = missed.map(|(_, place)| place.clone()).collect();
        (report.logs, report)
    }

    /// The patterns by a piece from their middle, since many of them begin alike.
    struct Index<'a> {
        patterns: &'a [Pattern],
        by_window: HashMap<u64, Vec<usize>>,
        /// Which hashes of pieces occur at all: what is asked for at every byte of every log.
        occurs: Vec<bool>,
    }

    impl<'a> Index<'a> {
        fn new(patterns: &'a [Pattern]) -> Self {
            let mut index = Self { patterns, by_window: HashMap::new(), occurs: vec![false; 1 << 20] };
            for (number, pattern) in patterns.iter().enumerate() {
                let piece =
                    piece(&pattern.bytes[pattern.window..]).expect("a pattern is longer than its piece");
                index.by_window.entry(piece).or_default().push(number);
                index.occurs[bucket(piece)] = true;
            }
            index
        }

        fn found_in(&self, log: &[u8]) -> Vec<(usize, &'a Pattern)> {
            let mut found = Vec::new();
            if self.patterns.is_empty() {
                return found;
            }
            for (at, window) in log.windows(WINDOW).enumerate() {
                let Some(piece) = piece(window) else { continue };
                if !self.occurs[bucket(piece)] {
                    continue;
                }
                for number in self.by_window.get(&piece).into_iter().flatten() {
                    let pattern = &self.patterns[*number];
                    let start = at.checked_sub(pattern.window);
                    if start
                        .and_then(|start| log.get(start..))
                        .is_some_and(|rest| rest.starts_with(&pattern.bytes))
                    {
                        found.push((at, pattern));
                    }
                }
            }
            found
        }
    }

    fn piece(bytes: &[u8]) -> Option<u64> {
        bytes.first_chunk::<WINDOW>().map(|chunk| u64::from_le_bytes(*chunk))
    }

    fn bucket(piece: u64) -> usize {
        (piece.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 44) as usize
    }

    /// All writings of a secret that are long enough, without repetitions.
    fn writings(secret: usize, text: &str) -> Vec<Pattern> {
        let json = serde_json::to_string(text).expect("a text is JSON");
        let listed = format!("{:?}", text.as_bytes());
        let mut all = vec![
            ("plain", text.to_owned()),
            ("URL-encoded", percent_encoded(text, |byte| format!("%{byte:02X}"))),
            ("URL-encoded", percent_encoded(text, |byte| format!("%{byte:02x}"))),
            ("form-encoded", form_encoded(text)),
            ("as JSON", json.trim_matches('"').to_owned()),
            ("in hexadecimal", hexadecimal(text)),
            ("in hexadecimal", hexadecimal(text).to_uppercase()),
            ("as a list of bytes", listed.trim_matches(['[', ']']).to_owned()),
        ];
        for shift in 0..3 {
            all.push(("base64-encoded", base64_core(&STANDARD_NO_PAD, text, shift)));
            all.push(("base64url-encoded", base64_core(&URL_SAFE_NO_PAD, text, shift)));
        }
        let mut seen = BTreeSet::new();
        all.retain(|(_, written)| written.len() >= SHORTEST_SECRET && seen.insert(written.clone()));
        let pattern = |(writing, written): (&'static str, String)| Pattern {
            window: (written.len() - WINDOW) / 2,
            bytes: written.into_bytes(),
            secret,
            writing,
        };
        all.into_iter().map(pattern).collect()
    }

    /// The characters of the base64 of anything that has `text` after `shift` bytes (modulo three), as far as `text` alone
    /// decides them.
    fn base64_core(alphabet: &impl base64::Engine, text: &str, shift: usize) -> String {
        let shifted = [vec![0; shift], text.as_bytes().to_vec()].concat();
        let first = (shift * 8).div_ceil(6);
        let last = shifted.len() * 8 / 6;
        alphabet.encode(&shifted).get(first..last).unwrap_or_default().to_owned()
    }

    /// Strings of the shape of one of our own secrets.
    fn handles_in(log: &[u8]) -> Vec<(usize, &'static str)> {
        let mut found = Vec::new();
        // What is common to all prefixes is rare elsewhere.
        for (at, _) in log.windows(5).enumerate().filter(|(_, window)| *window == b"mcpd_") {
            let Some(prefix) = HANDLES.into_iter().find(|prefix| log[at..].starts_with(prefix.as_bytes()))
            else {
                continue;
            };
            let body = log[at + prefix.len()..].iter();
            if body.take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')).count()
                >= HANDLE_BODY
            {
                found.push((at, prefix));
            }
        }
        found
    }

    fn percent_encoded(text: &str, escape: impl Fn(u8) -> String) -> String {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        text.bytes()
            .map(|byte| if plain(byte) { char::from(byte).to_string() } else { escape(byte) })
            .collect()
    }

    fn form_encoded(text: &str) -> String {
        url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
    }

    fn hexadecimal(text: &str) -> String {
        text.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
    }

    fn line_of(log: &[u8], at: usize) -> usize {
        log.iter().take(at).filter(|byte| **byte == b'\n').count() + 1
    }

    /// The secrets of a file with the place where each is listed: what is told instead of the secret.
    fn lines_with_place(path: &Path) -> Vec<(String, String)> {
        let text = fs::read_to_string(path).expect("a list of secrets can be read");
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty());
        lines.map(|(index, line)| (line.to_owned(), format!("{name}:{}", index + 1))).collect()
    }

    fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut files: Vec<PathBuf> =
            entries.filter(|path| path.extension().is_some_and(|e| e == extension)).collect();
        files.sort();
        files
    }

    /// A small run of its own.
    struct Run(tempfile::TempDir);

    impl Run {
        fn new(secrets: &[&str]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir_all(folder.path().join("test-secrets")).unwrap();
            fs::create_dir_all(folder.path().join("test-logs")).unwrap();
            fs::write(folder.path().join("test-secrets/run.txt"), secrets.join("\n")).unwrap();
            Self(folder)
        }

        fn log(self, text: &str) -> Self {
            fs::write(self.folder().join("test-logs/run.log"), text).unwrap();
            self
        }

        fn folder(&self) -> &Path {
            self.0.path()
        }
    }
}
