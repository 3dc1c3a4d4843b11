//! `health`: for probes of containers that have no other program to ask with.

use std::{
    io::{self, Write as _},
    process::ExitCode,
    time::Duration,
};

use http::Method;
use http_body_util::{BodyExt as _, Limited};

use super::reach::{Unreached, Where};

/// How to ask.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Asks the admin listener, or with --socket the socket. Exit status: 0 it is; 1 it is not, or nobody answers \
                        in time; 64 the command line or the configuration is wrong."
)]
pub(super) struct Health {
    /// Whether it is ready for requests (its store answers, and it does not drain), instead of merely alive
    #[arg(long)]
    ready: bool,
    /// How long it may take to answer
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    #[command(flatten)]
    place: Where,
}

/// Asks once.
pub(super) fn run(health: &Health) -> ExitCode {
    super::asked(async {
        let answered = tokio::time::timeout(health.timeout, health.ask()).await;
        answered.unwrap_or_else(|_| Err(Unreached::Failed("no answer in time".to_owned())))
    })
}

impl Health {
    async fn ask(&self) -> Result<(), Unreached> {
        let path = if self.ready { "/readyz" } else { "/healthz" };
        let answer = self.place.probes()?.open(Method::GET, path).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), 1024).collect().await;
        let said = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).trim().to_owned());
        let said = super::table::plain(&said.unwrap_or_default());
        if !status.is_success() {
            return Err(Unreached::Failed(format!("it answers {}: {said}", status.as_u16())));
        }
        let _ = writeln!(io::stdout(), "{said}");
        Ok(())
    }
}
