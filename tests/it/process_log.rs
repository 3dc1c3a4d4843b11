//! The levels of the real binary's log, changed by its operator while it runs.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::process::{Process, World};

/// The lines of a request that passed well, which are written at level debug.
fn passed(process: &Process) -> usize {
    let answered = process.told("target", "mcp_deputy::access");
    answered.iter().filter(|line| line["level"] == "DEBUG" && line["status"] == 200).count()
}

/// The targets of all lines at levels debug and trace that are not ours.
fn foreign(process: &Process) -> BTreeSet<String> {
    let low = [process.told("level", "DEBUG"), process.told("level", "TRACE")].concat();
    let targets = low.iter().map(|line| line["target"].as_str().unwrap_or_default().to_owned());
    targets.filter(|target| !target.starts_with("mcp_deputy")).collect()
}

#[tokio::test]
async fn levels_are_changed_for_a_while_and_libraries_that_log_secrets_stay_where_they_are() {
    let mut world = World::new().await;
    world.configure("log = \"info\"");
    let process = world.start().await;
    let client = world.client("App").await;
    let tokens = world.visitor().tokens(&client).await;
    assert_eq!(world.admitted(&tokens.access).await, 200);
    let before = passed(&process);
    let shown = world.json(&["log", "show"]).await;
    assert_eq!(
        (&shown["filter"], &shown["changed"], &shown["journal"]),
        (&"info".into(), &false.into(), &true.into())
    );
    assert!(shown["capped"]["libraries"].as_array().unwrap().contains(&"hyper".into()), "{shown}");

    // Everything, and more than everything.
    let all = "trace,hyper=trace,h2::codec=trace,rustls=debug";
    let (status, said, error) = world.command(&["log", "set", all]).await;
    assert_eq!((status, error.as_str()), (Some(0), ""));
    assert!(said.contains(all) && said.contains("mcp-deputy log reset"), "{said}");
    assert_eq!(process.journaled("log_levels_changed", 1).await["reason"], "set");
    assert_eq!(world.admitted(&tokens.access).await, 200);
    client.refresh(&tokens.refresh).await;
    assert_eq!(passed(&process), before + 1);
    let capped = ["hyper", "h2", "hyper_util", "rustls", "tokio_rustls"];
    let low = foreign(&process);
    assert!(low.iter().all(|target| !capped.contains(&target.split("::").next().unwrap())), "{low:?}");

    // What is mistyped changes nothing.
    for wrong in ["debgu", "mcp_deputy=loud", "info,mcp_deputy::flow"] {
        let (status, _, error) = world.command(&["log", "set", wrong]).await;
        assert!(status == Some(64) && error.contains("log filter"), "{wrong}: {error}");
    }
    assert_eq!(world.json(&["log", "show"]).await["filter"], all);

    // Where the journal is not written any more, that stands in it, and is said.
    let (status, said, _) = world.command(&["log", "set", "error"]).await;
    assert!(status == Some(0) && said.contains("mcp_deputy::journal=info"), "{said}");
    assert_eq!(process.told("event", "log_levels_changed").len(), 2);
    let journal = process.told("target", "mcp_deputy::journal").len();
    let client = world.client("Unseen").await;
    assert_eq!(process.told("target", "mcp_deputy::journal").len(), journal);

    let reset: Value = world.json(&["log", "reset"]).await;
    assert_eq!((&reset["filter"], &reset["changed"]), (&"info".into(), &false.into()));
    assert_eq!(process.journaled("log_levels_changed", 3).await["reason"], "reset");
    world.json(&["log", "reset"]).await;
    assert_eq!(process.told("event", "log_levels_changed").len(), 3, "there was nothing to be reset");
    drop(client);

    // A configuration that is read again says what holds, and one that is refused says nothing.
    world.json(&["log", "set", "debug"]).await;
    let good = std::fs::read_to_string(world.config()).unwrap();
    world.rewrite(|_| "nonsense".to_owned());
    process.hang_up();
    process.journaled("configuration_refused", 1).await;
    let socket = world.folder().join("data/admin.sock");
    let shown = world.json(&["log", "show", "--socket", socket.to_str().unwrap()]).await;
    assert_eq!(shown["filter"], "debug");
    world.rewrite(|_| good);
    process.hang_up();
    process.journaled("configuration_reloaded", 1).await;
    let shown = world.json(&["log", "show"]).await;
    assert_eq!((&shown["filter"], &shown["changed"]), (&"info".into(), &false.into()));
}
