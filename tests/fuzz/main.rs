//! The bodies of the fuzz targets, run as ordinary tests: over the corpus, and over what a seeded mutator makes of it.
//!
//! The same bodies run under cargo-fuzz, which is guided by coverage: `tests/fuzz/run TARGET SECONDS`. What it finds
//! becomes a file of the corpus, so that it is tried here ever after.
//!
//! `MCP_DEPUTY_FUZZ_ROUNDS` (default 1500) says how many generated inputs each target is given.

#[cfg(test)]
mod bodies;

#[cfg(test)]
mod tests {
    use std::{
        env, fs,
        panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
        path::{Path, PathBuf},
    };

    use super::bodies::{TARGETS, Target};

    /// What strangers write where it hurts.
    const PIECES: [&str; 32] = [
        "\"",
        "\\",
        "%00",
        "%ff",
        "%25",
        "&",
        "=",
        ";",
        ",",
        "..",
        "//",
        "@",
        "#",
        "?",
        "\n",
        "\r\n",
        "\0",
        "\u{202e}",
        "\u{430}",
        "\u{ff0f}",
        "[::1]",
        "127.0.0.1",
        "https://mcp.example.com",
        "javascript:",
        "null",
        "{",
        "]",
        "-1",
        "1e999",
        "18446744073709551616",
        "\\u0000",
        "\\ud800",
    ];

    /// The smallest generator that is good enough (xorshift): the same seed, the same inputs.
    struct Chance(u64);

    impl Chance {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0
        }

        fn below(&mut self, end: usize) -> usize {
            usize::try_from(self.next() >> 11).unwrap() % end.max(1)
        }
    }

    fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
        let files = fs::read_dir(&folder).unwrap_or_else(|_| panic!("{} is there", folder.display()));
        let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
        files.sort();
        files.into_iter().map(|file| (file.clone(), fs::read(file).unwrap())).collect()
    }

    /// One input with a few changes, or parts of two, or nothing but chance.
    fn mutated(corpus: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
        let mut input = corpus[chance.below(corpus.len())].clone();
        if chance.below(8) == 0 {
            let other = &corpus[chance.below(corpus.len())];
            input.truncate(chance.below(input.len() + 1));
            input.extend_from_slice(&other[chance.below(other.len() + 1)..]);
        } else if chance.below(16) == 0 {
            input = (0..chance.below(200)).map(|_| chance.next().to_le_bytes()[3]).collect();
        }
        for _ in 0..=chance.below(4) {
            let at = chance.below(input.len() + 1);
            match chance.below(5) {
                0 if at < input.len() => input[at] ^= 1 << chance.below(8),
                1 if at < input.len() => _ = input.remove(at),
                2 => input.insert(at, chance.next().to_le_bytes()[3]),
                3 => _ = input.splice(at..at, PIECES[chance.below(PIECES.len())].bytes()),
                _ => {
                    let end = at + chance.below(12).min(input.len() - at);
                    let again = input[at..end].repeat(1 + chance.below(3));
                    input.splice(at..end, again);
                }
            }
        }
        input
    }

    /// Runs a body, and says what it was given when it panics.
    fn run(body: fn(&[u8]), input: &[u8], from: &str) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| body(input))) {
            println!("{from}: {:?}", input.escape_ascii().to_string());
            resume_unwind(panic);
        }
    }

    fn hold((name, body): Target) {
        let corpus = corpus(name);
        assert!(corpus.len() >= 4, "{name}: hardly anything to begin with");
        for (file, input) in &corpus {
            run(body, input, &file.display().to_string());
        }
        let inputs: Vec<Vec<u8>> = corpus.into_iter().map(|(_, input)| input).collect();
        let rounds =
            env::var("MCP_DEPUTY_FUZZ_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1500);
        let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
        for round in 0..rounds {
            run(body, &mutated(&inputs, &mut chance), &format!("{name}, round {round}"));
        }
    }

    fn target(name: &str) -> Target {
        *TARGETS.iter().find(|(known, _)| *known == name).unwrap()
    }

    macro_rules! targets {
        ($($name:ident),* $(,)?) => { $(#[test] fn $name() { hold(target(stringify!($name))); })* };
    }

    targets!(
        addresses,
        assertions,
        configuration,
        cookies,
        credentials,
        documents,
        handles,
        messages,
        metadata,
        parameters,
        redirects,
    );

    #[test]
    fn every_target_has_a_corpus_and_a_binary() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
        let manifest = fs::read_to_string(root.join("cargo/Cargo.toml")).unwrap();
        for (name, _) in TARGETS {
            assert!(root.join("corpus").join(name).is_dir(), "{name} has no corpus");
            assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is not in cargo/Cargo.toml");
            assert!(root.join(format!("cargo/targets/{name}.rs")).is_file(), "{name} has no binary");
        }
        assert_eq!(
            fs::read_dir(root.join("corpus")).unwrap().count(),
            TARGETS.len(),
            "a corpus without a target"
        );
    }
}
