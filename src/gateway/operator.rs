//! The operator's socket: where it is, who answers there, and how long.
//!
//! It answers from before the listeners do until after they have drained, so that whoever watches sees the drain.

use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    config::{AdminSocket, Settings},
    flow::fault::{Fault, chain},
    net::local::{self, LocalError, LocalSocket},
    web::admin::Admin,
};

/// Binds the socket that the configuration names, or the one in the store's folder. One that nobody asked for may be missing,
/// where the system cannot have it: a gateway that ran before such sockets were there runs on. Fails where somebody else
/// answers on it.
pub(super) fn socket(settings: &Settings) -> Result<Option<LocalSocket>, Fault> {
    let Some(path) = settings.admin_socket.path(&settings.store.url) else { return Ok(None) };
    match LocalSocket::bind(&path) {
        Ok(socket) => {
            tracing::info!(path = %socket.path().display(), "the operator's commands are answered on this socket");
            if settings.admin_socket != AdminSocket::Beside && local::is_open_to_others(&path) {
                tracing::warn!(
                    reason = "socket_folder_open",
                    path = %path.display(),
                    "others may write to the folder of the admin socket: while no gateway runs they can put theirs in its place",
                );
            }
            Ok(Some(socket))
        }
        Err(error) if settings.admin_socket == AdminSocket::Beside && !matches!(error, LocalError::Taken) => {
            tracing::warn!(
                path = %path.display(),
                error = chain(&error),
                "there is no socket for the operator's commands: set admin_socket to another path, or to off",
            );
            Ok(None)
        }
        Err(error) => Err(Fault::caused(format!("listen on the admin socket {}", path.display()), error)),
    }
}

/// The socket's task.
pub(super) struct Serving {
    task: Option<JoinHandle<()>>,
    stop: DropGuard,
}

/// Answers there until [`Serving::end`]. `draining` is cancelled when the gateway begins to drain.
pub(super) fn serve(socket: Option<LocalSocket>, admin: Arc<Admin>, draining: CancellationToken) -> Serving {
    let stop = CancellationToken::new();
    let answer = move |request: http::Request<()>| {
        let (admin, draining) = (Arc::clone(&admin), draining.clone());
        async move { admin.answer_operator(&request, draining.is_cancelled()).await }
    };
    let serving = |socket: LocalSocket| socket.serve(answer, stop.clone());
    let task = socket.map(|socket| tokio::spawn(serving(socket)));
    Serving { task, stop: stop.drop_guard() }
}

impl Serving {
    /// Ends, and removes the socket.
    pub(super) async fn end(self) {
        drop(self.stop);
        if let Some(task) = self.task
            && task.await.is_err()
        {
            tracing::error!(reason = "operator_socket_failed", "the task of the admin socket panicked");
        }
    }
}
