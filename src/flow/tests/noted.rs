//! What the journal says of pages: which one was shown, which could not be, and what a person took out of one.

use std::{
    io::{self, Write},
    sync::Mutex,
};

use serde_json::Value;

use super::*;
use crate::{
    flow::journal::TARGET,
    observe::log::{Form, subscriber},
};

/// Where the journal is written in these tests.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Paper {
    /// What was written since the last look: event, reason, and the entry.
    fn entries(&self) -> Vec<(String, String, Value)> {
        let text = String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let ours = lines.filter(|line| line["target"] == TARGET);
        let field = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
        ours.map(|line| (field(&line, "event"), field(&line, "reason"), line)).collect()
    }

    /// The only entry.
    fn only(&self) -> (String, String, Value) {
        let mut entries = self.entries();
        assert_eq!(entries.len(), 1, "{entries:?}");
        entries.remove(0)
    }
}

#[tokio::test]
async fn pages_and_their_answers_are_in_the_journal() {
    let paper = Paper::default();
    let pen = paper.clone();
    let _guard = tracing::subscriber::set_default(subscriber(None, Form::Json, move || pen.clone()).unwrap());
    let world = World::new();
    let app = world.register().await;
    paper.entries();
    let page = async |asked: AuthorizeQuery, session: Option<String>| {
        let page = world.flows.authorize(asked, None, session).await.unwrap();
        let (event, reason, _) = paper.only();
        assert_eq!(event, "consent_page_shown");
        (page, reason)
    };
    let (full, reason) = page(query(&app), None).await;
    assert_eq!(reason, "full");
    let departed = world.approve(&full.form, full.set_render_cookie.unwrap().expose()).await.unwrap();
    let arrived = world.come_back(&departed, None).await.unwrap();
    let Arrived::Answer { session: Some(session), .. } = arrived else { panic!("{arrived:?}") };
    let session = Some(session.expose().to_owned());
    paper.entries();
    assert_eq!(page(query(&app), session.clone()).await.1, "short");
    let more = || AuthorizeQuery { scope: Some("read extra".to_owned()), ..query(&app) };
    let (wider, reason) = page(more(), session).await;
    assert_eq!((reason.as_str(), wider.optional.to_string().as_str()), ("widened", "extra"));

    // Approved without what was unticked.
    let cookie = wider.set_render_cookie.unwrap().expose().to_owned();
    let form = ConsentForm { request: wider.form.clone(), ticked: ScopeSet::default() };
    world.flows.consent(form, Decision::Approve, Some(cookie), post()).await.unwrap();
    let (event, _, entry) = paper.entries().remove(0);
    assert_eq!(event, "approved");
    assert_eq!((&entry["scopes"], &entry["unticked"]), (&"read".into(), &"extra".into()));

    // What could not be shown, or not be answered.
    let elsewhere = AuthorizeQuery { redirect_uri: Some("https://evil.example/".to_owned()), ..query(&app) };
    world.flows.authorize(elsewhere, None, None).await.unwrap_err();
    let (event, reason, entry) = paper.only();
    assert_eq!((event.as_str(), reason.as_str()), ("page_refused", "redirect_uri_unregistered"));
    assert_eq!(entry["client_id"], app.as_str());
    let stranger = AuthorizeQuery { client_id: Some("text of a stranger".to_owned()), ..query(&app) };
    world.flows.authorize(stranger, None, None).await.unwrap_err();
    let (event, reason, entry) = paper.only();
    assert_eq!((event.as_str(), reason.as_str()), ("page_refused", "client_unknown"));
    assert!(entry.get("client_id").is_none(), "{entry}");
    world.approve(&wider.form, "another").await.unwrap_err();
    assert_eq!(paper.only().1, "cookie_wrong");
    world.flows.show_arrival("x".to_owned(), vec![]).await.unwrap_err();
    let (event, reason, _) = paper.only();
    assert_eq!((event.as_str(), reason.as_str()), ("page_refused", "arrival_unknown"));
    let elsewhere = Callback { tickets: vec![], ..callback(&departed, None) };
    world.flows.arrive(elsewhere).await.unwrap_err();
    let (event, reason, _) = paper.only();
    assert_eq!((event.as_str(), reason.as_str()), ("login_failed", "ticket_unknown"));
}
