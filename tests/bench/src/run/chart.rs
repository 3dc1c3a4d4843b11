//! A chart: processor time per request, a bar for each candidate.

use std::fmt::Write as _;

use super::{
    Sample,
    candidate::DEPUTY,
    figures::{self, Median, Rounds},
};

/// The scenarios that are drawn.
const DRAWN: &[(&str, &str)] = &[("json-16", "16 connections"), ("json-64", "64 connections")];

const WIDTH: f64 = 760.0;
/// Where bars begin.
const LEFT: f64 = 130.0;
/// How long the longest is.
const LONGEST: f64 = 500.0;
const BAR: f64 = 18.0;
const STEP: f64 = 26.0;

/// `None` where none of the scenarios was measured.
pub(super) fn of(samples: &[Sample]) -> Option<String> {
    let mut bars = String::new();
    let mut top = 48.0;
    let groups: Vec<_> = DRAWN
        .iter()
        .map(|(scenario, title)| {
            let rounds = Rounds::of(samples, scenario);
            let of_each = |name| Some((name, rounds.median(name, figures::processor)?));
            (*title, rounds.candidates().into_iter().filter_map(of_each).collect::<Vec<_>>())
        })
        .filter(|(_, bars)| !bars.is_empty())
        .collect();
    let most = groups.iter().flat_map(|(_, bars)| bars).map(|(_, median)| median.most).reduce(f64::max)?;
    let scale = LONGEST / most;
    for (title, group) in groups {
        let _ = writeln!(bars, r#"<text x="16" y="{:.1}" class="group">{title}</text>"#, top + 14.0);
        top += STEP;
        for (name, median) in group {
            bar(&mut bars, name, median, top, scale);
            top += STEP;
        }
        top += STEP / 2.0;
    }
    Some(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {top:.0}\" role=\"img\" \
         aria-label=\"Processor time per request\">\n\
         <style>text {{ font: 13px sans-serif; fill: #222 }} .title {{ font-size: 15px; font-weight: bold }} \
         .group {{ font-weight: bold }} .bar {{ fill: #9aa7b5 }} .ours {{ fill: #2f6f9f }} \
         .spread {{ stroke: #222; stroke-width: 1 }}</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"16\" y=\"28\" class=\"title\">Processor time per request, µs (median of the rounds; least and most)</text>\n\
         {bars}</svg>\n"
    ))
}

fn bar(bars: &mut String, name: &str, median: Median, top: f64, scale: f64) {
    let class = if name.starts_with(DEPUTY) { "ours" } else { "bar" };
    let (length, middle) = (median.middle * scale, top + BAR / 2.0);
    let (least, most) = (LEFT + median.least * scale, LEFT + median.most * scale);
    let _ = writeln!(
        bars,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>\
         <rect x=\"{LEFT}\" y=\"{top:.1}\" width=\"{length:.1}\" height=\"{BAR}\" class=\"{class}\"/>\
         <path d=\"M{least:.1} {middle:.1}H{most:.1}\" class=\"spread\"/>\
         <text x=\"{:.1}\" y=\"{:.1}\">{:.1}</text>",
        LEFT - 8.0,
        middle + 4.5,
        most + 8.0,
        middle + 4.5,
        median.middle,
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Measured;

    #[test]
    fn the_longest_bar_has_the_whole_length() {
        let sample = |candidate: &str, processor| {
            let measured = Measured { count: 1, processor, ..Measured::default() };
            Sample { scenario: "json-16", candidate: candidate.to_owned(), round: 0, measured }
        };
        let chart = of(&[sample("haproxy", 40.0), sample(DEPUTY, 20.0)]).unwrap();
        assert!(chart.contains(r#"width="500.0" height="18" class="bar""#), "{chart}");
        assert!(chart.contains(r#"width="250.0" height="18" class="ours""#), "{chart}");
        assert!(of(&[]).is_none());
    }
}
