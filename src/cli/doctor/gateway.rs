//! The running gateway, asked over its socket or its admin listener: whether it is there, with this configuration, ready; as
//! which user it runs, and how many files it may have open.

use std::{io, os::unix::fs::MetadataExt as _, time::Duration};

use http::Method;
use rustix::process::{Resource, getrlimit};
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};

use super::finding::{self, Check, Finding};
use crate::{
    cli::reach::{Gateway, Unreached, Where},
    config::Settings,
    net::local,
};

/// For each question.
const PATIENCE: Duration = Duration::from_millis(1500);
/// With fewer open files than this, a busy day is too much.
const FEW: u64 = 4096;

/// What is known of the running gateway.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// The way to it, where it answers.
    pub(super) gateway: Option<Gateway>,
    /// The user that it runs as.
    pub(super) user: Option<u32>,
    process: Option<i32>,
}

impl Known {
    /// Asks it something.
    pub(super) async fn ask(&self, method: Method, path: &str) -> Option<Value> {
        timeout(PATIENCE, self.gateway.as_ref()?.ask(method, path)).await.ok()?.ok()
    }
}

/// Looks for it.
pub(super) async fn look(place: &Where, settings: &Settings) -> (Known, Vec<Finding>) {
    let mut known = Known::default();
    let Ok(gateway) = place.gateway() else {
        return (known, vec![Finding::of(&finding::OPERATOR_HAS_NO_WAY, "")]);
    };
    let socket = match (&place.socket, &place.url) {
        (Some(path), _) => Some(path.clone()),
        (None, Some(_)) => None,
        (None, None) => settings.admin_socket.path(&settings.store.url),
    };
    let (subject, connected) = match &socket {
        Some(path) => {
            let stream = timeout(PATIENCE, local::connect(path)).await;
            let stream = stream.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            if let Ok(stream) = &stream {
                known.process = stream.peer_cred().ok().and_then(|cred| cred.pid());
                known.user = std::fs::metadata(path).ok().map(|metadata| metadata.uid());
            }
            (path.display().to_string(), stream.map(drop))
        }
        None if place.url.is_some() => ("--url".to_owned(), Ok(())),
        None => {
            let address = settings.admin_listen;
            let stream = timeout(PATIENCE, TcpStream::connect(address)).await;
            let stream = stream.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            (address.to_string(), stream.map(drop))
        }
    };
    if let Err(error) = connected {
        let problem = match error.kind() {
            io::ErrorKind::PermissionDenied => &finding::GATEWAY_FORBIDDEN,
            io::ErrorKind::TimedOut => &finding::GATEWAY_SILENT,
            _ => &finding::GATEWAY_NOT_RUNNING,
        };
        return (known, vec![Finding::of(problem, subject)]);
    }
    let found = match timeout(PATIENCE, gateway.ask(Method::GET, "/admin/v1")).await {
        Ok(Ok(about)) => {
            let issuer = about.get("issuer").and_then(Value::as_str);
            if issuer == Some(settings.public_url.as_str()) {
                let is_ready = timeout(PATIENCE, gateway.open(Method::GET, "/readyz")).await;
                known.gateway = Some(gateway);
                let is_refused = about.get("configuration").and_then(Value::as_str) == Some("refused");
                match is_ready {
                    Ok(Ok(answer)) if answer.status().is_success() && is_refused => {
                        Finding::of(&finding::CONFIGURATION_REFUSED, subject)
                    }
                    Ok(Ok(answer)) if answer.status().is_success() => {
                        Finding::ok(Check::Gateway, subject, "it runs, ready, with this public_url")
                    }
                    _ => Finding::of(&finding::STORE_SILENT, subject),
                }
            } else {
                Finding::of(&finding::OTHER_CONFIGURATION, subject)
            }
        }
        Ok(Err(Unreached::Wrong(_) | Unreached::Failed(_))) | Err(_) => {
            Finding::of(&finding::GATEWAY_SILENT, subject)
        }
    };
    (known, vec![found])
}

/// The ids of the keys that it has from its key file. Empty where they are from elsewhere, or nobody answers.
pub(super) async fn keys_in_file(known: &Known) -> Vec<String> {
    let listed = known.ask(Method::GET, "/admin/v1/keys").await.unwrap_or_default();
    let keys = listed.get("keys").and_then(Value::as_array).into_iter().flatten();
    let from_file = keys.filter(|key| key.get("origin").and_then(Value::as_str) == Some("key_file"));
    from_file.filter_map(|key| key.get("id").and_then(Value::as_str)).map(ToOwned::to_owned).collect()
}

/// How many files it may have open: of its process, where the system tells, or else of ours.
pub(super) fn open_files(known: &Known, settings: &Settings) -> Finding {
    let of_process = known.process.and_then(limit_of);
    let subject = if of_process.is_some() { "the gateway's process" } else { "as seen from this command" };
    let limit = of_process.or(getrlimit(Resource::Nofile).maximum).unwrap_or(u64::MAX);
    let wanted = [settings.limits.max_connections, settings.limits.max_streams];
    let wanted: u64 = wanted.into_iter().flatten().map(|count| count as u64).sum();
    let detail = if limit == u64::MAX { "without limit".to_owned() } else { format!("{limit} files") };
    if limit < FEW.max(wanted) {
        Finding::of(&finding::OPEN_FILES_FEW, subject).because(detail)
    } else {
        Finding::ok(Check::OpenFiles, subject, detail)
    }
}

/// What Linux says about another process of ours.
fn limit_of(process: i32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/limits")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}
