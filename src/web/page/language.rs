//! Which language a reader gets (RFC 9110 section 12.5.4).
//!
//! A range such as `de-AT` asks for everything that its first part names, since nobody who wants Austrian German would
//! rather read English. What is not understood in a header is not there. Knows tags only; the texts are in
//! [`super::texts`].

use http::{HeaderMap, header::ACCEPT_LANGUAGE};

/// One of the languages of the catalogue, by its place there.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Language(pub(super) usize);

/// The most ranges that are looked at: people have a few, headers can hold thousands.
const MAX_RANGES: usize = 32;

/// The language for whoever sent `headers`: the one that they want most, of equals the one they named first, and the first
/// of `known` where they want none of them.
pub(super) fn wanted<'a>(headers: &HeaderMap, known: impl Iterator<Item = &'a str>) -> Language {
    let values = headers.get_all(ACCEPT_LANGUAGE).iter().filter_map(|value| value.to_str().ok());
    let ranges: Vec<_> =
        values.flat_map(|value| value.split(',')).take(MAX_RANGES).filter_map(Range::parse).collect();
    let mut best: Option<(Language, Wish)> = None;
    for (index, tag) in known.enumerate() {
        if let Some(wish) = wish(&ranges, tag)
            && best.is_none_or(|(_, so_far)| wish.is_before(so_far))
        {
            best = Some((Language(index), wish));
        }
    }
    best.map_or_else(Language::default, |(language, _)| language)
}

/// One element of the header.
struct Range<'a> {
    tag: &'a str,
    /// In thousandths.
    quality: u16,
}

impl<'a> Range<'a> {
    fn parse(element: &'a str) -> Option<Self> {
        let mut parts = element.split(';').map(str::trim);
        let tag = parts.next().filter(|tag| !tag.is_empty())?;
        let quality = match parts.next() {
            None => 1000,
            Some(weight) => thousandths(weight.strip_prefix("q=").or_else(|| weight.strip_prefix("Q="))?)?,
        };
        Some(Self { tag, quality })
    }
}

/// A quality value: `0` or `1` with at most three more digits, never above one.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    if rest.len() > 3 || !rest.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let rest = format!("{rest:0<3}").parse::<u16>().ok()?;
    match whole {
        "0" => Some(rest),
        "1" if rest == 0 => Some(1000),
        _ => None,
    }
}

/// How much a language is wanted, and where in the header that is said.
#[derive(Clone, Copy)]
struct Wish {
    quality: u16,
    place: usize,
}

impl Wish {
    fn is_before(self, other: Self) -> bool {
        self.quality > other.quality || (self.quality == other.quality && self.place < other.place)
    }
}

/// What is said of the language itself counts more than what is said of one of its kinds, and that more than `*`.
fn wish(ranges: &[Range<'_>], tag: &str) -> Option<Wish> {
    let exact = |range: &str| range.eq_ignore_ascii_case(tag);
    let kind = |range: &str| range.split_once('-').is_some_and(|(first, _)| first.eq_ignore_ascii_case(tag));
    let find = |fits: &dyn Fn(&str) -> bool| {
        let fitting = ranges.iter().enumerate().filter(|(_, range)| fits(range.tag));
        let wishes = fitting.map(|(place, range)| Wish { quality: range.quality, place });
        wishes.reduce(|best, next| if next.is_before(best) { next } else { best })
    };
    let wish = find(&exact).or_else(|| find(&kind)).or_else(|| find(&|range| range == "*"))?;
    (wish.quality > 0).then_some(wish)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const KNOWN: [&str; 3] = ["en", "de", "fr"];

    fn chosen(values: &[&str]) -> &'static str {
        let headers: HeaderMap =
            values.iter().map(|value| (ACCEPT_LANGUAGE, HeaderValue::from_str(value).unwrap())).collect();
        KNOWN[wanted(&headers, KNOWN.into_iter()).0]
    }

    #[test]
    fn readers_get_what_they_want_most() {
        for (header, language) in [
            ("", "en"),
            ("de", "de"),
            ("DE", "de"),
            ("de-AT", "de"),
            ("de-AT,de;q=0.9,en;q=0.8", "de"),
            ("en-US,en;q=0.9,de;q=0.8", "en"),
            ("en;q=0.5, de;q=0.7", "de"),
            ("en ; q=0.5 ,\tde ; q=0.501", "de"),
            ("de,en", "de"),
            ("en,de", "en"),
            ("it, fr;q=0.3, de;q=0.2", "fr"),
            ("it", "en"),
            ("*", "en"),
            ("*, de;q=0.5", "en"),
            ("en;q=0, *", "de"),
            ("en;q=0", "en"),
            ("de;q=0, de-AT", "en"),
            ("de-AT;q=0.9, de;q=0.1, en;q=0.5", "en"),
            ("de;q=1.000, en;q=0.999", "de"),
            ("zh-Hant-TW, de-CH-1996;q=0.5", "de"),
            ("deutsch", "en"),
        ] {
            assert_eq!(chosen(&[header]), language, "{header}");
        }
        assert_eq!(chosen(&["it", "de"]), "de", "two headers are one");
    }

    #[test]
    fn what_is_not_understood_is_not_there() {
        for broken in
            ["de;q=2", "de;q=1.1", "de;q=0.1234", "de;q=x", "de;q=", "de;q=-1", "de;level=1", ";q=1", ",,,"]
        {
            assert_eq!(chosen(&[broken]), "en", "{broken}");
            assert_eq!(chosen(&[&format!("{broken}, fr;q=0.1")]), "fr", "{broken}");
        }
        let many = format!("{}de", "x,".repeat(100_000));
        assert_eq!(chosen(&[&many]), "en", "nobody has so many languages");
    }
}
