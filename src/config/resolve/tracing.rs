//! `[tracing]`: where traces go, and which.

use http::{HeaderName, HeaderValue};
use secrecy::ExposeSecret as _;
use url::Url;

use super::value::{self, amount, parse};
use crate::config::{
    error::{Place, Refused},
    file::{Amount, TracingFile, Written},
    settings::TracingSettings,
};

/// Where a collector takes traces, below its base URL (OTLP 1.x, section "OTLP/HTTP Request").
const PATH: &str = "/v1/traces";
/// Whether this binary can send any.
const IS_BUILT_IN: bool = cfg!(feature = "otel");

pub(super) fn resolve(file: &TracingFile) -> Result<TracingSettings, Refused> {
    resolve_where(file, IS_BUILT_IN)
}

fn resolve_where(file: &TracingFile, is_built_in: bool) -> Result<TracingSettings, Refused> {
    let default = TracingSettings::default();
    let endpoint = match &file.endpoint {
        // What stands in the environment of a whole cluster is not meant for this binary.
        Some(Written { place: Place::Variable(_), .. }) if !is_built_in => None,
        Some(written) if !is_built_in => {
            let sentence = "endpoint asks for traces, and this binary was built without them: build it with the feature otel \
                            (cargo build --features otel), or take [tracing] out";
            return Err(Refused::at(written.place, sentence));
        }
        Some(written) => Some((parse("endpoint", written, collector)?, written.place)),
        None => None,
    };
    let mut headers = Vec::new();
    for (name, secret) in file.headers.iter().flat_map(|written| &written.value) {
        let place = file.headers.as_ref().map_or(Place::Nowhere, |written| written.place);
        let refuse = |what: &str| Refused::at(place, format!("headers must hold {what}"));
        let name: HeaderName = name.parse().map_err(|_| refuse("names of headers, such as authorization"))?;
        let mut value = HeaderValue::from_str(secret.0.expose_secret())
            .map_err(|_| refuse("values of one line of printable ASCII"))?;
        value.set_sensitive(true);
        headers.push((name, value));
    }
    if let Some((url, place)) = endpoint.as_ref().filter(|_| !headers.is_empty()) {
        value::endpoint(url.as_str())
            .map_err(|must| Refused::at(*place, format!("endpoint {must}, where headers are secrets")))?;
    }
    Ok(TracingSettings {
        endpoint: endpoint.map(|(url, _)| url),
        headers,
        service_name: match &file.service_name {
            Some(written) => parse("service_name", written, value::words)?,
            None => default.service_name,
        },
        sample_ratio: ratio(file.sample_ratio.as_ref(), default.sample_ratio)?,
        max_per_second: amount(
            "max_per_second",
            file.max_per_second.as_ref(),
            default.max_per_second,
            1..=10_000,
        )?,
        follow_clients: file.follow_clients.unwrap_or(default.follow_clients),
    })
}

/// The URL that spans are sent to.
fn collector(text: &str) -> Result<Url, &'static str> {
    let mut url = value::web_url(text)?;
    if url.query().is_some() {
        return Err("must not have a query");
    }
    let path = url.path().trim_end_matches('/');
    let path = if path.ends_with(PATH) { path.to_owned() } else { format!("{path}{PATH}") };
    url.set_path(&path);
    Ok(url)
}

fn ratio(written: Option<&Written<Amount>>, default: f64) -> Result<f64, Refused> {
    let Some(Written { value: Amount(text), place }) = written else { return Ok(default) };
    let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.ok_or_else(|| Refused::at(*place, "sample_ratio must be a number between 0 and 1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(text: &str, is_built_in: bool) -> Result<TracingSettings, String> {
        let file: TracingFile = toml::from_str(text).unwrap();
        resolve_where(&file, is_built_in).map_err(|refused| format!("{refused:?}"))
    }

    #[test]
    fn a_binary_without_traces_says_so() {
        let text = "endpoint = \"http://127.0.0.1:4318\"";
        let refused = resolved(text, false).unwrap_err();
        assert!(refused.contains("built without them: build it with the feature otel"), "{refused}");
        assert!(resolved("sample_ratio = 0.5", false).unwrap().endpoint.is_none());
        // One that stands in the environment for other programs stops nobody.
        let value = "http://collector:4318".to_owned();
        let place = Place::Variable("OTEL_EXPORTER_OTLP_ENDPOINT");
        let file = TracingFile { endpoint: Some(Written { value, place }), ..TracingFile::default() };
        assert!(resolve_where(&file, false).unwrap().endpoint.is_none());
        assert!(resolve_where(&file, true).unwrap().endpoint.is_some());
    }

    #[test]
    fn spans_go_to_the_path_of_the_standard() {
        for (written, meant) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://collector.internal:4318/", "http://collector.internal:4318/v1/traces"),
            ("https://otel.example.com/otlp", "https://otel.example.com/otlp/v1/traces"),
            ("https://otel.example.com/v1/traces", "https://otel.example.com/v1/traces"),
        ] {
            let settings = resolved(&format!("endpoint = \"{written}\""), true).unwrap();
            assert_eq!(settings.endpoint.unwrap().as_str(), meant);
        }
        for wrong in ["collector:4318", "ftp://x", "https://ada:pw@x", "http://x/?key=1"] {
            assert!(resolved(&format!("endpoint = \"{wrong}\""), true).is_err(), "{wrong}");
        }
    }

    #[test]
    fn secrets_travel_encrypted_and_are_not_shown() {
        let headers = "headers = { authorization = \"Bearer canary-of-the-collector\", x-tenant = \"a\" }";
        let refused =
            resolved(&format!("endpoint = \"http://collector.internal:4318\"\n{headers}"), true).unwrap_err();
        assert!(refused.contains("endpoint must be https") && !refused.contains("canary"), "{refused}");
        for endpoint in ["https://collector.example.com", "http://127.0.0.1:4318", "http://localhost:4318"] {
            let settings = resolved(&format!("endpoint = \"{endpoint}\"\n{headers}"), true).unwrap();
            assert_eq!(settings.headers.len(), 2);
            assert!(!format!("{settings:?}").contains("canary"));
        }
        for wrong in ["{ \"no name\" = \"x\" }", "{ authorization = \"canary\\n\" }"] {
            let refused = resolved(&format!("headers = {wrong}"), true).unwrap_err();
            assert!(refused.contains("headers must hold") && !refused.contains("canary"), "{refused}");
        }
    }

    #[test]
    fn a_ratio_is_between_nothing_and_everything() {
        for (written, meant) in [("0", 0.0), ("1", 1.0), ("0.05", 0.05), ("1e-3", 0.001), ("\"0.5\"", 0.5)] {
            let found = resolved(&format!("sample_ratio = {written}"), true).unwrap().sample_ratio;
            assert!((found - meant).abs() < 1e-9, "{written}");
        }
        for wrong in ["1.1", "-0.1", "2", "nan", "inf", "\"5%\""] {
            assert!(resolved(&format!("sample_ratio = {wrong}"), true).is_err(), "{wrong}");
        }
    }
}
