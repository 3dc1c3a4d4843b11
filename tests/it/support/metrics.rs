//! A strict reader of the text of `/metrics`: what Prometheus would refuse, or take for something else, is a panic.

use std::collections::{BTreeMap, BTreeSet};

use http::Request;

use super::{Gateway, Reply};

/// A series: the name of its sample, and its labels in order.
pub(crate) type Series = (String, BTreeMap<String, String>);

/// A number as it is written, in millionths.
type Millionths = u64;
const ONE: Millionths = 1_000_000;

/// What was read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) kinds: BTreeMap<String, String>,
    pub(crate) samples: BTreeMap<Series, Millionths>,
}

impl Metrics {
    /// Reads the whole text.
    pub(crate) fn read(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line ends");
        let mut read = Self::default();
        let mut helped = BTreeSet::new();
        let mut current = String::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("a help text");
                assert!(is_name(name) && !help.is_empty() && helped.insert(name.to_owned()), "{line}");
                current = name.to_owned();
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a kind");
                assert_eq!(name, current, "TYPE belongs to HELP");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert!(read.kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "{line}: twice");
            } else {
                let (series, value) = sample(line);
                let kind = &read.kinds[&current];
                let suffixes: &[&str] =
                    if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
                assert!(
                    suffixes.iter().any(|suffix| series.0 == format!("{current}{suffix}")),
                    "{line} stands below {current}"
                );
                assert_eq!(series.0.ends_with("_bucket"), series.1.contains_key("le"), "{line}");
                assert!(read.samples.insert(series, value).is_none(), "{line}: twice");
            }
        }
        read.judge_histograms();
        read
    }

    fn judge_histograms(&self) {
        // Bounds and counts, by family and other labels.
        let mut buckets: BTreeMap<Series, Vec<(Millionths, Millionths)>> = BTreeMap::new();
        for ((name, labels), value) in &self.samples {
            let Some(family) = name.strip_suffix("_bucket") else { continue };
            let mut others = labels.clone();
            let bound = match others.remove("le").unwrap().as_str() {
                "+Inf" => Millionths::MAX,
                bound => number(bound),
            };
            buckets.entry((family.to_owned(), others)).or_default().push((bound, *value));
        }
        assert!(!buckets.is_empty());
        for ((family, labels), mut buckets) in buckets {
            buckets.sort_unstable();
            assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{family} {labels:?}: {buckets:?}");
            let last = buckets.last().unwrap();
            assert_eq!(last.0, Millionths::MAX, "{family} has no +Inf");
            assert_eq!(self.samples[&(format!("{family}_count"), labels.clone())], last.1, "{family}");
            assert!(self.samples.contains_key(&(format!("{family}_sum"), labels)), "{family} has no sum");
        }
    }

    /// The value of the one series with this name and these labels (others may be there as well); the sum where there are
    /// several.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let sum = self.millionths(name, labels);
        assert_eq!(sum % ONE, 0, "{name} {labels:?} is no whole number");
        sum / ONE
    }

    /// The same in millionths, where it need not be a whole number.
    pub(crate) fn millionths(&self, name: &str, labels: &[(&str, &str)]) -> Millionths {
        let has = |series: &Series| {
            series.0 == name
                && labels.iter().all(|(label, value)| series.1.get(*label).is_some_and(|it| it == value))
        };
        let found: Vec<_> =
            self.samples.iter().filter(|(series, _)| has(series)).map(|(_, value)| *value).collect();
        assert!(!found.is_empty(), "there is no {name} {labels:?}");
        found.iter().sum()
    }

    /// The bounds of a histogram's buckets, in order, as they are written.
    pub(crate) fn bounds(&self, family: &str, label: (&str, &str)) -> Vec<String> {
        let is_one = |(name, labels): &&Series| {
            *name == format!("{family}_bucket") && labels.get(label.0).is_some_and(|value| value == label.1)
        };
        let mut bounds: Vec<String> =
            self.samples.keys().filter(is_one).map(|(_, labels)| labels["le"].clone()).collect();
        bounds.sort_by_key(|bound| if bound == "+Inf" { Millionths::MAX } else { number(bound) });
        bounds.dedup();
        bounds
    }

    /// How often an event of the journal was counted.
    pub(crate) fn event(&self, event: &str) -> u64 {
        self.value("mcp_deputy_events_total", &[("event", event)])
    }

    /// All series.
    pub(crate) fn series(&self) -> BTreeSet<Series> {
        self.samples.keys().cloned().collect()
    }

    /// Nothing that only rises is lower than before, and nothing that was there is gone.
    pub(crate) fn follows(&self, before: &Self) {
        for (series, value) in &before.samples {
            let now = self.samples.get(series).unwrap_or_else(|| panic!("{series:?} is gone"));
            let family =
                ["_bucket", "_sum", "_count"].iter().find_map(|suffix| series.0.strip_suffix(suffix));
            let kind = self.kinds.get(&series.0).or_else(|| self.kinds.get(family?));
            assert!(
                kind.is_some_and(|kind| kind == "gauge") || now >= value,
                "{series:?} fell: {value} {now}"
            );
        }
    }
}

/// One sample.
fn sample(line: &str) -> (Series, Millionths) {
    let end = line.find(['{', ' ']).unwrap_or_else(|| panic!("{line}"));
    let name = &line[..end];
    assert!(is_name(name), "{line}");
    let mut labels = BTreeMap::new();
    let mut rest = &line[end..];
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
            assert!(is_name(label) && !label.contains(':') && !label.starts_with("__"), "{line}");
            let (value, after) = quoted(after);
            assert!(labels.insert(label.to_owned(), value).is_none(), "{line}: twice");
            match after.as_bytes().first() {
                Some(b',') => rest = &after[1..],
                Some(b'}') => {
                    rest = &after[1..];
                    break;
                }
                _ => panic!("{line}"),
            }
        }
    }
    let value = rest.strip_prefix(' ').unwrap_or_else(|| panic!("{line}"));
    assert!(!value.contains(' '), "{line}: no time stamps");
    ((name.to_owned(), labels), number(value))
}

/// A number that is not negative and has six digits behind the point at most, which is all that we write.
fn number(text: &str) -> Millionths {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    assert!(rest.len() <= 6 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'), "{text}");
    let (whole, rest): (Millionths, Millionths) =
        (whole.parse().unwrap(), format!("{rest:0<6}").parse().unwrap());
    whole * ONE + rest
}

/// A label value up to its closing quotation mark, and what follows.
fn quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &text[at + 1..]),
            '\\' => match characters.next().expect("an escape has an end").1 {
                'n' => value.push('\n'),
                escaped @ ('\\' | '"') => value.push(escaped),
                other => panic!("\\{other} is no escape"),
            },
            other => value.push(other),
        }
    }
    panic!("{text}: no end");
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
}

impl Gateway {
    /// What `/metrics` says on the admin listener.
    pub(crate) async fn metrics(&self) -> Metrics {
        let request = Request::get(format!("{}/metrics", self.admin)).body("".into()).unwrap();
        let reply: Reply = self.send(request).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        Metrics::read(&reply.text())
    }
}
