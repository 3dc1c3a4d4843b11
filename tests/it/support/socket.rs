//! Bytes on a socket, as no HTTP library would send them, and the answer as it came.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::Gateway;

/// How long an answer is waited for. A server that keeps a connection open after its answer costs this much.
const LONGEST: Duration = Duration::from_secs(5);

/// What came back on a socket.
#[derive(Debug)]
pub(crate) struct Raw {
    /// 0 where the connection was closed without an answer.
    pub(crate) status: u16,
    /// The whole answer as text.
    pub(crate) text: String,
}

impl Raw {
    /// Everything behind the head.
    pub(crate) fn body(&self) -> &str {
        self.text.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }

    /// The first header of this name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let head = self.text.split("\r\n\r\n").next().unwrap_or_default();
        head.lines().skip(1).find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// Sends these bytes on a connection of its own and reads until it is closed.
pub(crate) async fn raw(address: SocketAddr, bytes: &[u8]) -> Raw {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        // A reset after the answer is as good as an end.
        let _ = timeout(LONGEST, stream.read_to_end(&mut answer)).await;
        answer
    };
    let text = String::from_utf8_lossy(&exchange.await).into_owned();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    Raw { status, text }
}

impl Gateway {
    /// A request whose first line and headers are written as they stand here; `Host` and `Connection: close` are added.
    pub(crate) async fn raw(&self, line: &str, headers: &[(&str, &str)]) -> Raw {
        let mut lines = vec![
            format!("{line} HTTP/1.1"),
            format!("host: {}", self.address()),
            "connection: close".to_owned(),
        ];
        lines.extend(headers.iter().map(|(name, value)| format!("{name}: {value}")));
        raw(self.address(), format!("{}\r\n\r\n", lines.join("\r\n")).as_bytes()).await
    }
}
