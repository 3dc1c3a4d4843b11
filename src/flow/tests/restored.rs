//! What a restore writes beside the apps: without it they would be there for ever, or the operator's own would be anybody's.

use super::*;
use crate::{
    domain::{
        client::{Client, Source, UNUSED_TTL, USED_TTL, tests::client},
        handle::{Handle, Kind},
    },
    flow::{
        operator::{PutBack, Readmission, Restoring},
        records::Records,
    },
};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn app(what: &str) -> Client {
    let id = Handle::derived(Kind::Client, &Digest::of(what)).expose().to_owned();
    let body = r#"{"redirect_uris":["http://127.0.0.1/"],"token_endpoint_auth_method":"none"}"#;
    client(&id, body, None, NOW)
}

#[tokio::test]
async fn what_comes_back_is_found_by_whoever_clears_away() {
    let store = Arc::new(MemoryStore::new());
    let rules = Readmission { now: NOW, own_origin: PUBLIC.to_owned(), private_schemes: Vec::new() };
    let (restoring, records) = (Restoring::into(Arc::clone(&store) as _, rules), Records::new(store));
    let (unused, used) = (app("unused"), Client { used_at: Some(NOW), ..app("used") });
    let own = Client { id: "own".to_owned(), source: Source::Configured, ..app("own") };
    let old = Client { unused_until: NOW, ..app("old") };
    for (client, revoke, becomes) in [
        (unused.clone(), false, PutBack::Usable),
        (used.clone(), false, PutBack::Usable),
        (own.clone(), false, PutBack::Usable),
        (app("gone"), true, PutBack::Revoked),
        (old.clone(), false, PutBack::Expired),
        (Client { id: "x".to_owned(), ..app("x") }, false, PutBack::Impossible),
    ] {
        assert_eq!(restoring.put_back(client, revoke).await.unwrap(), becomes);
    }
    for (id, is_there) in [(&unused.id, true), (&old.id, false), (&"x".to_owned(), false)] {
        assert_eq!(records.load::<Client>(id.as_bytes()).await.unwrap().is_some(), is_there);
    }
    // The configuration has it, or it is taken out.
    assert_eq!(records.configured().await.unwrap(), ["own"]);
    // The first to go where there are too many.
    let waiting = records.unused(None, 10).await.unwrap();
    let waiting: Vec<_> = waiting.iter().map(|it| it.id.as_ref()).collect();
    assert!(waiting.contains(&unused.id.as_bytes()) && !waiting.contains(&used.id.as_bytes()));
    // And each in its time.
    let due = async |at: Timestamp| {
        let due = records.expiring(at, None, 100).await.unwrap();
        due.into_iter().map(|it| String::from_utf8(it.id.to_vec()).unwrap()).collect::<Vec<_>>()
    };
    assert!(due(NOW.after(UNUSED_TTL)).await.contains(&unused.id));
    assert!(!due(NOW.after(UNUSED_TTL)).await.contains(&used.id));
    assert!(due(NOW.after(USED_TTL)).await.contains(&used.id));
    // Twice is an error: half of it would be somebody else's.
    assert!(restoring.put_back(unused, false).await.is_err());
}
