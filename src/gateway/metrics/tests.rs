//! The table of metrics against what is written, against its documentation, and against the dashboard and the alerts.

use std::{collections::BTreeSet, env, fmt::Write as _, fs, path::Path};

use super::{families::FAMILIES, *};
use crate::{flow::tests::World, net::listen::Handshake};

fn text() -> String {
    let world = World::new();
    let tallies = Tallies::since(Timestamp::from_millis(1_800_000_000_500));
    tallies.traffic.worker(0).server("/mcp");
    let places = Places { connections: 10, streams: 5 };
    let keys = resealing();
    let certificate = Some(("/etc/tls/\"own\".pem".to_owned(), 1_800_000_060));
    let now = Timestamp::from_millis(1_800_000_100_000);
    world.flows.tally().documents.add("refused", "document_too_large");
    tallies.door.handshake_failed(Handshake::NotTls);
    tallies.exposition(&Moment { flows: &world.flows, places, store: None, certificate, keys, now })
}

fn resealing() -> ResealingView {
    ResealingView { key: String::new(), state: "resealing", records: Some(9), resealed: 4, unreadable: 1 }
}

fn on_disk(path: &str) -> String {
    fs::read_to_string(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(path)).unwrap_or_default()
}

/// `docs/metrics.md`: what stands there by hand, and the table.
fn documentation() -> String {
    let written = on_disk("docs/metrics.md");
    let marker = "<!-- From here on generated: UPDATE=1 cargo test --lib metrics -->\n";
    let by_hand = written.split(marker).next().unwrap_or_default();
    let mut out =
        format!("{by_hand}{marker}\n| metric | kind | labels | what it is |\n| --- | --- | --- | --- |\n");
    for family in FAMILIES {
        let labels: Vec<_> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = if labels.is_empty() { "–".to_owned() } else { labels.join(", ") };
        let (name, kind, help) = (family.name, family.kind.name(), family.help);
        let _ = writeln!(out, "| `{name}` | {kind} | {labels} | {help} |");
    }
    out
}

#[test]
fn the_documentation_is_the_table() {
    let generated = documentation();
    if env::var_os("UPDATE").is_some() {
        fs::write(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join("docs/metrics.md"), &generated)
            .unwrap();
    }
    assert!(on_disk("docs/metrics.md") == generated, "out of date: UPDATE=1 cargo test --lib metrics");
}

#[tokio::test]
async fn every_metric_of_the_table_is_written_once_and_in_order() {
    let text = text();
    let written: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let table: Vec<_> =
        FAMILIES.iter().map(|family| format!("{} {}", family.name, family.kind.name())).collect();
    assert_eq!(written, table);
    let names: BTreeSet<_> = FAMILIES.iter().map(|family| family.name).collect();
    assert_eq!(names.len(), FAMILIES.len());
    for family in FAMILIES {
        assert!(family.help.ends_with('.'), "{}", family.name);
        let is_counter = family.kind == crate::observe::exposition::Kind::Counter;
        assert_eq!(family.name.ends_with("_total"), is_counter, "{}", family.name);
    }
    assert!(text.contains("\nprocess_start_time_seconds 1800000000.5\n"));
}

/// Each is another one, and stands where it belongs.
#[tokio::test]
async fn every_number_is_that_of_its_own_tally() {
    let world = World::new();
    let tallies = Tallies::since(Timestamp::from_millis(1_800_000_000_500));
    let (sweeper, store, reloads) = (&tallies.sweeper, &tallies.store, &tallies.reloads);
    let sessions = &tallies.traffic.worker(0).sessions;
    for (count, number) in [
        (&sweeper.seen, 11),
        (&sweeper.removed, 12),
        (&sweeper.failed, 13),
        (&store.conflicts, 14),
        (&store.faults, 15),
        (&store.synced_writes, 16),
        (&reloads.applied, 17),
        (&reloads.refused, 18),
        (&sessions.hits, 19),
        (&sessions.misses, 20),
    ] {
        count.add(number);
    }
    for (spread, times) in
        [(&store.reads, 21), (&store.scans, 22), (&store.writes, 23), (&store.syncs, 24), (&store.folds, 25)]
    {
        for _ in 0..times {
            spread.note_shared(std::time::Duration::from_millis(1));
        }
    }
    for round in 0..63 {
        sweeper.round(round >= 32, Timestamp::from_millis(1_800_000_001_000));
    }
    let places = Places { connections: 41, streams: 42 };
    let now = Timestamp::from_millis(1_800_000_100_000);
    let text = tallies.exposition(&Moment {
        flows: &world.flows,
        places,
        store: None,
        certificate: None,
        keys: resealing(),
        now,
    });
    for line in [
        "mcp_deputy_swept_records_total{result=\"seen\"} 11",
        "mcp_deputy_swept_records_total{result=\"removed\"} 12",
        "mcp_deputy_swept_records_total{result=\"failed\"} 13",
        "mcp_deputy_store_conflicts_total 14",
        "mcp_deputy_store_faults_total 15",
        "mcp_deputy_store_synced_writes_total 16",
        "mcp_deputy_config_reloads_total{result=\"applied\"} 17",
        "mcp_deputy_config_reloads_total{result=\"refused\"} 18",
        "mcp_deputy_session_cache_total{result=\"hit\"} 19",
        "mcp_deputy_session_cache_total{result=\"miss\"} 20",
        "mcp_deputy_store_operation_duration_seconds_count{operation=\"read\"} 21",
        "mcp_deputy_store_operation_duration_seconds_count{operation=\"scan\"} 22",
        "mcp_deputy_store_operation_duration_seconds_count{operation=\"write\"} 23",
        "mcp_deputy_store_sync_duration_seconds_count 24",
        "mcp_deputy_store_fold_duration_seconds_count 25",
        "mcp_deputy_sweeps_total{result=\"done\"} 31",
        "mcp_deputy_sweeps_total{result=\"failed\"} 32",
        "mcp_deputy_last_sweep_timestamp_seconds 1800000001",
        "mcp_deputy_config_applied_timestamp_seconds 1800000000",
        "mcp_deputy_config_refused_timestamp_seconds 0",
        "mcp_deputy_connection_places 41",
        "mcp_deputy_stream_places 42",
    ] {
        assert!(text.lines().any(|it| it == line), "{line}");
    }
}

#[tokio::test]
async fn what_an_operator_is_woken_for_is_there() {
    let text = text();
    for line in [
        // Forty seconds ago.
        r#"mcp_deputy_certificate_expires_in_seconds{certificate="/etc/tls/\"own\".pem"} -40"#,
        r#"mcp_deputy_tls_handshakes_failed_total{reason="not_tls"} 1"#,
        r#"mcp_deputy_tls_handshakes_failed_total{reason="slow"} 0"#,
        r#"mcp_deputy_document_fetches_total{outcome="taken",reason=""} 0"#,
        r#"mcp_deputy_document_fetches_total{outcome="refused",reason="document_too_large"} 1"#,
        "mcp_deputy_last_backup_timestamp_seconds 0",
        "mcp_deputy_keys_settled 0",
        r#"mcp_deputy_keys_records{state="resealed"} 4"#,
        r#"mcp_deputy_keys_records{state="left"} 5"#,
        r#"mcp_deputy_keys_records{state="unreadable"} 1"#,
        "mcp_deputy_config_last_reload_successful 1",
        r#"mcp_deputy_mcp_request_duration_seconds_bucket{server="/mcp",le="0.0001"} 0"#,
        r#"mcp_deputy_mcp_request_duration_seconds_bucket{server="/mcp",le="120"} 0"#,
    ] {
        assert!(text.lines().any(|written| written == line), "{line}\n{text}");
    }
}

/// Every name that begins like ours.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let ours = words.filter(|word| word.starts_with("mcp_deputy_") || word.starts_with("process_"));
    ours.map(ToOwned::to_owned).collect()
}

#[test]
fn dashboard_and_alerts_name_only_what_there_is() {
    let mut known = BTreeSet::new();
    for family in FAMILIES {
        known.insert(family.name.to_owned());
        if family.kind == crate::observe::exposition::Kind::Histogram {
            known.extend(["_bucket", "_sum", "_count"].map(|suffix| format!("{}{suffix}", family.name)));
        }
    }
    for path in ["docs/observability/dashboard.json", "docs/observability/alerts.yml"] {
        let named = named(&on_disk(path));
        assert!(named.len() >= 10, "{path}: {named:?}");
        let unknown: Vec<_> = named.difference(&known).collect();
        assert!(unknown.is_empty(), "{path}: {unknown:?}");
    }
    let dashboard: serde_json::Value =
        serde_json::from_str(&on_disk("docs/observability/dashboard.json")).unwrap();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(panel["title"].is_string() && panel["gridPos"]["w"].is_u64(), "{panel}");
    }
}

#[tokio::test]
async fn alerts_and_dashboard_ask_for_labels_and_values_that_there_are() {
    let text = text();
    let reasons = include_str!("../../../docs/journal.md");
    for path in ["docs/observability/dashboard.json", "docs/observability/alerts.yml"] {
        let text_of = on_disk(path).replace("\\\"", "\"");
        for asked in text_of.split("event=").skip(1) {
            let values = asked.trim_start_matches('~').trim_start_matches('"').split('"').next().unwrap();
            for event in values.split('|') {
                assert!(reasons.contains(&format!("| `{event}` |")), "{path}: {event}");
            }
        }
        for asked in text_of.split("reason=").skip(1) {
            let values = asked.trim_start_matches('~').trim_start_matches('"').split('"').next().unwrap();
            for reason in
                values.split('|').filter(|reason| reason.starts_with("mcp_server") && !reason.contains('.'))
            {
                assert!(text.contains(&format!("reason=\"{reason}\"")), "{path}: {reason}");
            }
        }
    }
}
