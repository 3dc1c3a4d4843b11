//! The real binary, built without traces, and asked for them.

use crate::support::process::World;

#[tokio::test]
async fn a_binary_without_traces_refuses_to_be_asked_for_them() {
    let mut world = World::new().await;
    world.rewrite(|text| format!("{text}\n[tracing]\nsample_ratio = 0.5\n"));
    drop(world.start().await);
    world.rewrite(|text| format!("{text}endpoint = \"http://127.0.0.1:4318\"\n"));
    for command in ["check", "serve"] {
        let (status, _, error) = world.command(&[command]).await;
        assert_eq!(status, Some(64), "{command}: {error}");
        assert!(error.contains("endpoint asks for traces") && error.contains("--features otel"), "{error}");
    }
}
