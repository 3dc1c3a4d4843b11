//! An answer, read to its end.

use bytes::Bytes;
use http::{HeaderMap, Response};
use serde_json::Value;

use super::secrets;

/// Status, headers, body.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("no JSON: {} {}", self.status, self.text()))
    }

    /// The OAuth error code.
    pub(crate) fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_default().to_owned()
    }

    /// The reason that an error page names.
    pub(crate) fn slug(&self) -> String {
        slug(&self.text())
    }

    /// The JSON-RPC messages in a JSON or SSE body.
    pub(crate) fn messages(&self) -> Vec<Value> {
        if let Ok(message) = serde_json::from_slice(&self.body) {
            return vec![message];
        }
        let text = self.text();
        let data = text.lines().filter_map(|line| line.strip_prefix("data:"));
        data.filter_map(|data| serde_json::from_str(data.trim()).ok()).collect()
    }

    /// What a tool answered, in structured form.
    pub(crate) fn result(&self) -> Value {
        let messages = self.messages();
        let last = messages.last().unwrap_or_else(|| panic!("no message: {} {}", self.status, self.text()));
        last["result"].clone()
    }
}

impl From<Response<Bytes>> for Reply {
    fn from(response: Response<Bytes>) -> Self {
        let (head, body) = response.into_parts();
        secrets::answered(&head.headers, &body);
        Self { status: head.status.as_u16(), headers: head.headers, body }
    }
}

/// The reason that an error page names.
pub(crate) fn slug(page: &str) -> String {
    let (_, rest) = page.split_once("<dt>Reason</dt><dd><code>").unwrap_or_default();
    rest.split('<').next().unwrap_or_default().to_owned()
}
