//! The text that Prometheus reads (exposition format 0.0.4), line by line.
//!
//! A [`Family`] says once what a metric is called, what it means and which labels it has; [`Exposition`] writes its samples
//! below it. So a name has one meaning, a sample has exactly the labels of its family, and nothing is written twice.
//!
//! Must never be given a label value that a stranger chose: each value is a series for ever.

use std::fmt::{Display, Write as _};

/// The media type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What kind of number a metric is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Only rises, until the process ends.
    Counter,
    /// Rises and falls.
    Gauge,
    /// How many took how long, in seconds.
    Histogram,
}

impl Kind {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric.
#[derive(Debug)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// What kind of number it is.
    pub kind: Kind,
    /// What it counts: one sentence.
    pub help: &'static str,
    /// Which labels its samples have.
    pub labels: &'static [&'static str],
}

/// The text as it grows.
#[derive(Debug, Default)]
pub struct Exposition(String);

impl Exposition {
    /// Begins a metric; its samples follow.
    pub fn family(&mut self, family: &'static Family) -> Samples<'_> {
        let Family { name, kind, help, .. } = family;
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {}", kind.name());
        Samples { text: &mut self.0, family }
    }

    /// All of it.
    pub fn finish(self) -> String {
        self.0
    }
}

/// Writes the samples of one metric.
#[derive(Debug)]
pub struct Samples<'a> {
    text: &'a mut String,
    family: &'static Family,
}

impl Samples<'_> {
    /// A sample with these values of the labels of its family, in their order.
    pub fn sample(&mut self, labels: &[&str], value: impl Display) -> &mut Self {
        self.line("", labels, None, value)
    }

    /// The samples of a histogram: for each bound in microseconds how many took no longer; how many in all; how long
    /// together, in microseconds.
    pub fn histogram(
        &mut self,
        labels: &[&str],
        up_to: impl Iterator<Item = (u64, u64)>,
        count: u64,
        sum: u64,
    ) -> &mut Self {
        for (bound, so_many) in up_to {
            self.line("_bucket", labels, Some(&Seconds(bound).to_string()), so_many);
        }
        self.line("_bucket", labels, Some("+Inf"), count);
        self.line("_sum", labels, None, Seconds(sum));
        self.line("_count", labels, None, count)
    }

    fn line(&mut self, suffix: &str, labels: &[&str], le: Option<&str>, value: impl Display) -> &mut Self {
        debug_assert_eq!(labels.len(), self.family.labels.len(), "{}", self.family.name);
        let _ = write!(self.text, "{}{suffix}", self.family.name);
        let named =
            self.family.labels.iter().copied().zip(labels.iter().copied()).chain(le.map(|le| ("le", le)));
        let mut opening = '{';
        for (name, value) in named {
            let _ = write!(self.text, "{opening}{name}=\"{}\"", Escaped(value));
            opening = ',';
        }
        if opening == ',' {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
        self
    }
}

/// Microseconds as seconds, without rounding.
#[derive(Clone, Copy, Debug)]
pub struct Seconds(pub u64);

impl Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (whole, rest) = (self.0 / 1_000_000, self.0 % 1_000_000);
        if rest == 0 {
            return write!(f, "{whole}");
        }
        let digits = format!("{rest:06}");
        write!(f, "{whole}.{}", digits.trim_end_matches('0'))
    }
}

/// A label value as it stands between quotation marks.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for character in self.0.chars() {
            match character {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static PLAIN: Family =
        Family { name: "plain_total", kind: Kind::Counter, help: "A \\ and\na line.", labels: &[] };
    static LABELLED: Family =
        Family { name: "labelled", kind: Kind::Gauge, help: "Two.", labels: &["a", "b"] };
    static SPREAD: Family =
        Family { name: "spread_seconds", kind: Kind::Histogram, help: "Long.", labels: &["a"] };

    #[test]
    fn it_is_written_as_prometheus_reads_it() {
        let mut text = Exposition::default();
        text.family(&PLAIN).sample(&[], 7);
        text.family(&LABELLED).sample(&["x", "\"\\\n"], 0.5);
        text.family(&SPREAD).histogram(&["x"], [(250, 1), (1_000_000, 3)].into_iter(), 4, 2_500_000);
        let expected = r#"# HELP plain_total A \\ and\na line.
# TYPE plain_total counter
plain_total 7
# HELP labelled Two.
# TYPE labelled gauge
labelled{a="x",b="\"\\\n"} 0.5
# HELP spread_seconds Long.
# TYPE spread_seconds histogram
spread_seconds_bucket{a="x",le="0.00025"} 1
spread_seconds_bucket{a="x",le="1"} 3
spread_seconds_bucket{a="x",le="+Inf"} 4
spread_seconds_sum{a="x"} 2.5
spread_seconds_count{a="x"} 4
"#;
        assert_eq!(text.finish(), expected);
    }
}
