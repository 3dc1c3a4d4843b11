//! A backup, as the answer to the operator: it is read while it is sent, a page ahead at most.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{
    HeaderValue, Response,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use http_body::{Body as HttpBody, Frame};
use tokio::sync::mpsc;

use crate::{
    flow::{Flows, fault, operator::Unanswered},
    proxy::{Body, BodyError},
};

/// Begins to read, and answers with what is read.
pub(super) fn answer(flows: &Arc<Flows>) -> Response<Body> {
    let (sender, pages) = mpsc::channel(1);
    let mut backup = flows.back_up();
    tokio::spawn(async move {
        loop {
            let next = match backup.next().await {
                Ok(Some(lines)) => Ok(Bytes::from(lines)),
                Ok(None) => return,
                Err(Unanswered::Fault(failed)) => {
                    tracing::error!(error = fault::chain(&failed), "a backup broke off");
                    Err(BodyError::Cut)
                }
                Err(_) => Err(BodyError::Cut),
            };
            let is_over = next.is_err();
            // Nobody listens any more: then nothing more is read.
            if sender.send(next).await.is_err() || is_over {
                return;
            }
        }
    });
    let mut reply = Response::new(Body::stream(Pages(pages)));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

struct Pages(mpsc::Receiver<Result<Bytes, BodyError>>);

impl HttpBody for Pages {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.0.poll_recv(context).map(|page| page.map(|page| page.map(Frame::data)))
    }
}
