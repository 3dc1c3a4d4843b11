//! Documents that a test put somewhere, as the port of documents sees them.

use std::{
    collections::BTreeMap,
    sync::{Mutex, atomic::AtomicUsize, atomic::Ordering},
    time::Duration,
};

use crate::{
    domain::document::DocumentUrl,
    flow::ports::{BoxFuture, Document, DocumentError, Documents, Standing},
};

/// What answers at which URL. Everything else cannot be reached.
#[derive(Debug, Default)]
pub(crate) struct Library {
    answers: Mutex<BTreeMap<String, Result<Document, DocumentError>>>,
    fetched: AtomicUsize,
    /// For whom something was asked for last.
    pub(crate) standing: Mutex<Option<Standing>>,
    /// How long an answer takes.
    pub(crate) delay: Mutex<Duration>,
}

impl Library {
    /// From now on this is what stands at the URL.
    pub(crate) fn put(&self, url: &str, body: &str, fresh_for: Option<Duration>) {
        self.set(url, Ok(Document { body: body.as_bytes().to_vec(), fresh_for }));
    }

    /// From now on this is what asking for the URL leads to.
    pub(crate) fn set(&self, url: &str, answer: Result<Document, DocumentError>) {
        self.answers.lock().unwrap().insert(url.to_owned(), answer);
    }

    /// How often something was asked for.
    pub(crate) fn fetched(&self) -> usize {
        self.fetched.load(Ordering::SeqCst)
    }
}

impl Documents for Library {
    fn fetch<'a>(
        &'a self,
        url: &'a DocumentUrl,
        standing: Standing,
        most: usize,
    ) -> BoxFuture<'a, Result<Document, DocumentError>> {
        Box::pin(async move {
            self.fetched.fetch_add(1, Ordering::SeqCst);
            *self.standing.lock().unwrap() = Some(standing);
            let delay = *self.delay.lock().unwrap();
            tokio::time::sleep(delay).await;
            let answer = self.answers.lock().unwrap().get(url.as_str()).cloned();
            let document = answer.unwrap_or(Err(DocumentError::Unavailable("document_unreachable")))?;
            if document.body.len() > most {
                Err(DocumentError::Refused("document_too_large"))
            } else {
                Ok(document)
            }
        })
    }
}
