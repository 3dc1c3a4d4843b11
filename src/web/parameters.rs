//! The parameters of a request: a query or a form, decoded once and strictly.
//!
//! The order of RFC 6749 section 3.1: a parameter without a value counts as omitted, one that stands twice is an error
//! (`resource` aside, RFC 8707), one that we do not know is ignored. What does not decode to UTF-8 is refused as a whole:
//! repairing it would mean that two readers of the same bytes see different values.

use std::fmt;

use crate::domain::refusal::{ErrorCode, Refusal};

/// The most parameters of one request.
pub const MAX_PARAMETERS: usize = 64;

/// A parameter stands twice.
pub const REPEATED: Refusal =
    Refusal::new(ErrorCode::InvalidRequest, "parameter_repeated", "A parameter was sent more than once.");

const MALFORMED: Refusal =
    Refusal::new(ErrorCode::InvalidRequest, "parameter_malformed", "The parameters are not valid UTF-8.");
const TOO_MANY: Refusal =
    Refusal::new(ErrorCode::InvalidRequest, "parameters_too_many", "There are more than 64 parameters.");

/// Decoded parameters, in the order in which they were sent. Prints none of its values.
#[derive(Default)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads `application/x-www-form-urlencoded` text: a form body, or a query without its question mark.
    pub fn parse(text: &[u8]) -> Result<Self, Refusal> {
        let mut pairs = Vec::new();
        for pair in text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            if pairs.len() == MAX_PARAMETERS {
                return Err(TOO_MANY);
            }
            let at = pair.iter().position(|byte| *byte == b'=');
            let (name, value) = match at.and_then(|at| pair.split_at_checked(at)) {
                Some((name, value)) => (name, value.get(1..).unwrap_or_default()),
                None => (pair, &[][..]),
            };
            pairs.push((decode(name).ok_or(MALFORMED)?, decode(value).ok_or(MALFORMED)?));
        }
        Ok(Self(pairs))
    }

    /// The value of a parameter that may be sent once. `None` when it is absent or empty.
    pub fn one(&self, name: &str) -> Result<Option<&str>, Refusal> {
        let mut values = self.0.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str());
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(REPEATED),
            (value, None) => Ok(value.filter(|value| !value.is_empty())),
        }
    }

    /// As [`Parameters::one`], owned.
    pub fn take(&self, name: &str) -> Result<Option<String>, Refusal> {
        Ok(self.one(name)?.map(str::to_owned))
    }

    /// All values of a parameter that may be sent several times, empty ones left out.
    pub fn all(&self, name: &str) -> Vec<String> {
        let values = self.0.iter().filter(|(known, value)| known == name && !value.is_empty());
        values.map(|(_, value)| value.clone()).collect()
    }

    /// The first of `names` that stands twice.
    pub fn repeated(&self, names: &[&'static str]) -> Option<&'static str> {
        names.iter().copied().find(|name| self.0.iter().filter(|(known, _)| known == name).nth(1).is_some())
    }
}

impl fmt::Debug for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Parameters({})", self.0.len())
    }
}

/// Decodes one name or value (RFC 6749 appendix B). `None` for a broken escape or for what is not UTF-8.
pub fn decode(encoded: &[u8]) -> Option<String> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.iter();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => hex(*rest.next()?)? << 4 | hex(*rest.next()?)?,
            byte => *byte,
        });
    }
    String::from_utf8(bytes).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Parameters {
        Parameters::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn values_are_decoded_once() {
        for (text, value) in [
            ("state=a+b", "a b"),
            ("state=a%2Bb", "a+b"),
            ("state=%2541", "%41"),
            ("state=%C3%a4", "ä"),
            ("state=a=b=c", "a=b=c"),
            ("&&state=x&", "x"),
            ("st%61te=x", "x"),
            ("state=%00%0d%0a", "\0\r\n"),
        ] {
            assert_eq!(parse(text).one("state"), Ok(Some(value)), "{text}");
        }
    }

    #[test]
    fn empty_is_omitted_and_twice_is_an_error() {
        let parameters = parse("a=&b&c=1&c=2&d=&d=1&unknown=1&unknown=2&resource=x&resource=&resource=y");
        assert_eq!(parameters.one("a"), Ok(None));
        assert_eq!(parameters.one("b"), Ok(None));
        assert_eq!(parameters.one("z"), Ok(None));
        assert_eq!(parameters.one("c"), Err(REPEATED));
        assert_eq!(parameters.one("d"), Err(REPEATED));
        assert_eq!(parameters.all("resource"), ["x", "y"]);
        assert_eq!(parameters.repeated(&["a", "c", "d"]), Some("c"));
        assert_eq!(parameters.repeated(&["a", "b"]), None);
    }

    #[test]
    fn what_does_not_decode_is_refused() {
        for text in ["a=%", "a=%4", "a=%zz", "a=%ff", "%ff=a", "a=%c3%28", "a=\u{fffd}%e2%82"] {
            assert_eq!(
                Parameters::parse(text.as_bytes()).unwrap_err().reason,
                "parameter_malformed",
                "{text}"
            );
        }
        assert!(Parameters::parse(b"a=\xff").is_err());
    }

    #[test]
    fn there_is_an_end_to_parameters() {
        assert!(Parameters::parse("a=1&".repeat(MAX_PARAMETERS).as_bytes()).is_ok());
        let many = "a=1&".repeat(MAX_PARAMETERS + 1);
        assert_eq!(Parameters::parse(many.as_bytes()).unwrap_err().reason, "parameters_too_many");
    }

    #[test]
    fn parameters_never_print_their_values() {
        assert_eq!(format!("{:?}", parse("code=secret")), "Parameters(1)");
    }
}
