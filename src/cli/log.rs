//! `log`: from which levels on the running gateway logs, for as long as somebody looks for something.
//!
//! The running gateway does it; the commands ask and tell. What is set is not kept: a reload of the configuration, `reset`, or
//! a restart ends it.

use std::process::ExitCode;

use http::Method;
use serde_json::Value;
use url::form_urlencoded;

use super::{
    reach::{Unreached, Where},
    tell::{out, text},
};

/// What to do with the levels.
#[derive(Clone, Debug, clap::Subcommand)]
pub(super) enum Log {
    /// Say which levels hold, and which the configuration has
    Show(Show),
    /// Log from these levels on until the configuration is read again, a reset, or the end of the process
    Set(Set),
    /// Log as the configuration says
    Reset(Show),
}

/// How to say it.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Show {
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Where,
}

/// What to log.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "A filter is a level (off, error, warn, info, debug, trace), or several with targets, separated by commas: \
                        info,mcp_deputy::proxy=debug. The journal is written at info and warn under mcp_deputy::journal. Libraries that \
                        could log secrets (hyper, h2, rustls and the like) stay at info, whatever is asked for."
)]
pub(super) struct Set {
    /// From which levels on, such as `debug`, or `info,mcp_deputy::flow=trace`
    filter: String,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Where,
}

/// Does it.
pub(super) fn run(log: &Log) -> ExitCode {
    super::asked(async {
        match log {
            Log::Show(show) => ask(show, Method::GET, "/admin/v1/log").await,
            Log::Reset(reset) => ask(reset, Method::POST, "/admin/v1/log/reset").await,
            Log::Set(Set { filter, json, place }) => {
                let show = Show { json: *json, place: place.clone() };
                let query: String =
                    form_urlencoded::Serializer::new(String::new()).append_pair("filter", filter).finish();
                ask(&show, Method::POST, &format!("/admin/v1/log/set?{query}")).await
            }
        }
    })
}

async fn ask(show: &Show, method: Method, path: &str) -> Result<(), Unreached> {
    let levels = show.place.gateway()?.ask(method, path).await?;
    if show.json {
        return out(&format!("{levels:#}"));
    }
    out(&sentences(&levels))
}

fn sentences(levels: &Value) -> String {
    let is = |name: &str| levels.get(name).and_then(Value::as_bool) == Some(true);
    let filter = text(levels, "filter");
    let mut said = if is("changed") {
        let configured = text(levels, "configured");
        format!(
            "It logs {filter} for now. The configuration says {configured}, which holds again after a reload, a restart, or: \
             mcp-deputy log reset"
        )
    } else {
        format!("It logs {filter}, as the configuration says.")
    };
    if !is("journal") {
        said.push_str(
            "\nThe journal is not written under these levels: add mcp_deputy::journal=info where it is to be kept.",
        );
    }
    said
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_says_what_holds_and_until_when() {
        let levels = |changed, journal| {
            sentences(
                &json!({ "filter": "debug", "configured": "info", "changed": changed, "journal": journal }),
            )
        };
        assert_eq!(levels(false, true), "It logs debug, as the configuration says.");
        assert!(
            levels(true, true).contains("mcp-deputy log reset") && levels(true, true).contains("says info")
        );
        assert!(levels(true, false).contains("mcp_deputy::journal=info"));
    }
}
