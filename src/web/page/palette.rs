//! Colours: ours, as they stand in the style, an operator's in their place, and whether what is read can be read.

use std::{collections::BTreeMap, fmt::Write as _};

use super::templates::STYLE;

/// Which colours stand on which, and the contrast that they need (WCAG 2.2, 1.4.3 and 1.4.11, level AA).
pub(super) const PAIRS: [(&str, &str, f64); 7] = [
    ("text", "page", 4.5),
    ("quiet", "page", 4.5),
    ("text", "field", 4.5),
    ("on-accent", "accent", 4.5),
    ("on-warn", "warn", 4.5),
    ("accent", "page", 3.0),
    ("line", "page", 3.0),
];

/// The style with these colours: names as in the configuration, values as `#rrggbb`. An error is a sentence.
pub(super) fn style(light: &[(String, String)], dark: &[(String, String)]) -> Result<String, String> {
    // Browsers hash what the HTML parser hands them, and it turns every line end into a line feed.
    let mut style = STYLE.replace("\r\n", "\n");
    let (ours_light, ours_dark) = schemes(&style);
    let schemes = [("colors", light, ours_light), ("colors_dark", dark, ours_dark)];
    for (key, chosen, ours) in schemes {
        if chosen.is_empty() {
            continue;
        }
        let mut colours = ours;
        let mut rules = String::new();
        for (name, value) in chosen {
            let name = name.replace('_', "-");
            if !colours.contains_key(&name) {
                return Err(format!("there is no colour {name}"));
            }
            let _ = write!(rules, "--{name}: {value}; ");
            colours.insert(name, value.clone());
        }
        for (front, back, least) in PAIRS {
            let contrast = contrast(&colours, front, back);
            if contrast < least {
                // Never rounded up to what would be enough.
                let contrast = (contrast * 10.0).floor() / 10.0;
                let (front, back) = (front.replace('-', "_"), back.replace('-', "_"));
                return Err(format!(
                    "{key}: {front} on {back} has a contrast of {contrast}, and needs {least} to be seen"
                ));
            }
        }
        let rules = format!(":root {{ {rules}}}");
        match key {
            "colors" => {
                let _ = writeln!(style, "@media not all and (prefers-color-scheme: dark) {{ {rules} }}");
            }
            _ => {
                let _ = writeln!(style, "@media (prefers-color-scheme: dark) {{ {rules} }}");
            }
        }
    }
    Ok(style)
}

/// Our colours, for light and dark schemes.
fn schemes(style: &str) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let (light, dark) = style.split_once("@media (prefers-color-scheme: dark)").unwrap_or((style, style));
    let colours = |rules: &str| {
        let lines = rules.lines().filter_map(|line| line.trim().strip_prefix("--")?.strip_suffix(';'));
        lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    };
    (colours(light), colours(dark))
}

/// The contrast of two colours (WCAG 2.2), 1 to 21.
fn contrast(colours: &BTreeMap<String, String>, front: &str, back: &str) -> f64 {
    let light = |name| colours.get(name).map_or(0.0, |colour| luminance(colour));
    let (front, back) = (light(front), light(back));
    (front.max(back) + 0.05) / (front.min(back) + 0.05)
}

fn luminance(colour: &str) -> f64 {
    let channel = |at: usize| {
        let value = colour.get(at..at + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let value = f64::from(value.unwrap_or_default()) / 255.0;
        if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(colours: &[(&str, &str)]) -> Vec<(String, String)> {
        colours.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn text_has_enough_contrast() {
        let (light, dark) = schemes(STYLE);
        for colours in [light, dark] {
            assert_eq!(colours.len(), 9, "{colours:?}");
            for (front, back, least) in PAIRS {
                let contrast = contrast(&colours, front, back);
                assert!(contrast >= least, "{front} on {back}: {contrast}");
            }
        }
    }

    #[test]
    fn contrast_is_what_wcag_says() {
        let of = |front: &str, back: &str| {
            let colours = chosen(&[("a", front), ("b", back)]).into_iter().collect();
            (contrast(&colours, "a", "b") * 100.0).round() / 100.0
        };
        assert_eq!(of("#000000", "#ffffff").to_string(), "21");
        assert_eq!(of("#777777", "#ffffff").to_string(), "4.48");
        assert_eq!(of("#ffffff", "#ffffff").to_string(), "1");
    }

    #[test]
    fn chosen_colours_stand_in_the_style_if_they_can_be_read() {
        assert_eq!(style(&[], &[]).unwrap(), STYLE);
        let purple = style(
            &chosen(&[("accent", "#6b21a8")]),
            &chosen(&[("accent", "#d8b4fe"), ("on_accent", "#000000")]),
        );
        let purple = purple.unwrap();
        assert!(
            purple.contains("not all and (prefers-color-scheme: dark) { :root { --accent: #6b21a8; } }"),
            "{purple}"
        );
        assert!(
            purple.ends_with("dark) { :root { --accent: #d8b4fe; --on-accent: #000000; } }\n"),
            "{purple}"
        );
        for (light, dark, sentence) in [
            (
                &[("accent", "#ffff00")][..],
                &[][..],
                "colors: on_accent on accent has a contrast of 1, and needs 4.5 to be seen",
            ),
            (
                &[("quiet", "#777777")],
                &[],
                "colors: quiet on page has a contrast of 4.4, and needs 4.5 to be seen",
            ),
            (
                &[],
                &[("page", "#ffffff")],
                "colors_dark: text on page has a contrast of 1.1, and needs 4.5 to be seen",
            ),
            (
                &[("warn", "#ffffff"), ("on_warn", "#ffffff")],
                &[],
                "colors: on_warn on warn has a contrast of 1, and needs 4.5 to be seen",
            ),
        ] {
            assert_eq!(style(&chosen(light), &chosen(dark)).unwrap_err(), sentence);
        }
    }
}
