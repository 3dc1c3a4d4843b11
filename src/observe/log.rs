//! Logs: one JSON object per line on stderr.
//!
//! What is logged is decided where it is logged; this only says where it goes and from which level on. Lines carry the
//! request that they are about (id, method, path; [`request`]), so that a support id finds everything that belongs to it. Nothing that
//! reaches the log may be a secret, at any level: the leak test of the whole suite runs at level trace.
//!
//! Levels can be changed while the process runs ([`change`], [`levels`]). What is not logged costs what it did before: whether a
//! line is wanted is remembered at the place where it stands, and asked again only after a change.
//!
//! Begun once by the command line. Must never be called by a library user's code path.

use std::{
    fmt::Result as Written,
    io,
    panic::{self, PanicHookInfo},
    sync::OnceLock,
};

use thiserror::Error;
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    filter::ParseError,
    fmt::{self, FmtContext, FormatEvent, FormatFields, MakeWriter, format::Writer},
    layer::SubscriberExt as _,
    registry::{LookupSpan, Registry},
    reload,
    util::{SubscriberInitExt as _, TryInitError},
};

use super::{
    levels::{self, Chosen},
    request,
};

/// The form of a line.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Form {
    /// One JSON object per line, for machines.
    #[default]
    Json,
    /// For the eyes of somebody who tries things out.
    Plain,
}

/// Why logging could not begin.
#[derive(Debug, Error)]
pub enum LogError {
    /// The filter is not one.
    #[error("the log filter is not valid: {0}")]
    Filter(#[from] ParseError),
    /// Somebody began before.
    #[error("logging has begun already")]
    Twice(#[from] TryInitError),
}

/// Begins to log to stderr. `filter`: from which levels on; `None` or empty: the default.
pub fn begin(filter: Option<&str>, form: Form) -> Result<(), LogError> {
    let (subscriber, chosen) = changeable(filter, form, io::stderr)?;
    subscriber.try_init()?;
    // Whoever begins twice has failed above.
    let _ = LEVELS.set(chosen);
    let _ = report_panics();
    Ok(())
}

/// Those of the log that has begun. As global as `tracing`'s own.
static LEVELS: OnceLock<Chosen> = OnceLock::new();

/// Whether a filter is one.
pub fn judge(filter: &str) -> Result<(), LogError> {
    Ok(levels::parse(filter).map(drop)?)
}

/// Logs from these levels on, from now on. Where the filter is none nothing changes; where no log has begun there is nothing
/// to change.
pub fn change(filter: &str) -> Result<(), LogError> {
    match LEVELS.get() {
        Some(chosen) => Ok(chosen.configure(filter)?),
        None => judge(filter),
    }
}

/// The levels of the log that has begun; `None`: none has, or somebody else's.
pub fn levels() -> Option<&'static Chosen> {
    LEVELS.get()
}

/// From now on a panic is a line in the log: where it happened, never its message, which may hold anything. A panic costs
/// one answer and nothing else, and is always worth a look. Returns the hook that was there before.
pub fn report_panics() -> Box<dyn Fn(&PanicHookInfo<'_>) + Sync + Send + 'static> {
    let before = panic::take_hook();
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string);
        tracing::error!(reason = PANICKED, place, "a part of this program panicked");
    }));
    before
}

/// The reason with which a panic stands in the log.
const PANICKED: &str = "panicked";

/// The same with another writer, for tests.
pub fn subscriber<W>(
    filter: Option<&str>,
    form: Form,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, LogError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    changeable(filter, form, writer).map(|(subscriber, _)| subscriber)
}

type Changeable = (Box<dyn Subscriber + Send + Sync>, Chosen);

fn changeable<W>(filter: Option<&str>, form: Form, writer: W) -> Result<Changeable, LogError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = filter.unwrap_or_default();
    let (layer, handle) = reload::Layer::new(levels::parse(filter)?);
    let chosen = Chosen::new(handle, filter);
    let registry = Registry::default().with(layer);
    let subscriber: Box<dyn Subscriber + Send + Sync> = match form {
        Form::Json => {
            let line = fmt::format().json().flatten_event(true).with_span_list(false);
            let json = fmt::layer().json().event_format(Labelled { line, form }).with_writer(writer);
            Box::new(registry.with(json))
        }
        Form::Plain => {
            let line = fmt::format().with_ansi(false);
            let plain = fmt::layer().with_ansi(false).event_format(Labelled { line, form });
            Box::new(registry.with(plain.with_writer(writer)))
        }
    };
    Ok((subscriber, chosen))
}

/// Lines that say which request they are about.
struct Labelled<Line> {
    line: Line,
    form: Form,
}

impl<Line, S, N> FormatEvent<S, N> for Labelled<Line>
where
    Line: FormatEvent<S, N>,
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> Written {
        let Some(request) = request::current() else {
            return self.line.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.line.format_event(context, Writer::new(&mut line), event)?;
        let line = line.trim_end();
        match (self.form, line.strip_suffix('}')) {
            (Form::Json, Some(line)) => writeln!(writer, "{line},\"span\":{}}}", request.as_json()),
            _ => writeln!(writer, "{line} {request}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::{
        super::{request::Request, trace::Span},
        *,
    };

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(filter: Option<&str>, form: Form, work: impl FnOnce()) -> String {
        let paper = Paper::default();
        let pen = paper.clone();
        let subscriber = subscriber(filter, form, move || pen.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, work);
        String::from_utf8(paper.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_line_is_json_and_carries_the_span_of_its_request() {
        let text = written(None, Form::Json, || {
            let request = Request {
                id: [0x0a, 0x1b, 0, 0, 0, 0],
                method: "GET",
                path: "/token".into(),
                span: Span::default(),
            };
            request.during(|| {
                tracing::info!(reason = "client_unknown", "refused");
                tracing::debug!("not said by default");
            });
        });
        let line: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!(line["reason"], "client_unknown");
        assert_eq!(line["message"], "refused");
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["span"]["id"], "0a1b00000000");
        assert_eq!(line["span"]["path"], "/token");
    }

    #[test]
    fn the_filter_decides_and_a_broken_one_is_told() {
        let say = || {
            tracing::info!("hello");
            tracing::debug!("details");
        };
        assert_eq!(written(Some("warn"), Form::Plain, say), "");
        assert_eq!(written(Some("debug"), Form::Plain, say).lines().count(), 2);
        assert_eq!(written(Some(""), Form::Plain, say).lines().count(), 1);
        assert!(matches!(
            subscriber(Some("mcp_deputy=loud"), Form::Json, io::sink),
            Err(LogError::Filter(_))
        ));
    }

    #[test]
    fn levels_change_while_it_runs_and_the_cap_stays() {
        let paper = Paper::default();
        let pen = paper.clone();
        let (subscriber, chosen) = changeable(Some("warn"), Form::Plain, move || pen.clone()).unwrap();
        let lines = || String::from_utf8(paper.0.lock().unwrap().clone()).unwrap().lines().count();
        tracing::subscriber::with_default(subscriber, || {
            let say = || {
                tracing::info!(target: "mcp_deputy::proxy", "one");
                tracing::debug!(target: "mcp_deputy::proxy", "two");
                tracing::debug!(target: "hyper", "never");
            };
            say();
            assert_eq!(lines(), 0);
            chosen.change_for_now("warn,mcp_deputy::proxy=debug,hyper=trace").unwrap();
            say();
            assert_eq!(lines(), 2);
            assert!(chosen.change_for_now("debgu").is_err() && chosen.change_for_now("x=loud").is_err());
            let shown = chosen.shown();
            assert_eq!(
                (shown.filter.as_str(), shown.configured.as_str(), shown.is_for_now),
                ("warn,mcp_deputy::proxy=debug,hyper=trace", "warn", true)
            );
            assert!(chosen.restore() && !chosen.restore());
            say();
            assert_eq!(lines(), 2);
            // What the configuration says ends what was said for a while.
            chosen.change_for_now("off").unwrap();
            chosen.configure("info").unwrap();
            say();
            assert_eq!(lines(), 3);
            let shown = chosen.shown();
            assert_eq!((shown.filter.as_str(), shown.is_for_now), ("info", false));
            assert!(!chosen.restore());
        });
        assert!(judge("mcp_deputy=loud").is_err());
    }

    #[test]
    fn every_room_is_named_alike() {
        let say = || tracing::debug!(target: "mcp_deputy_net::connection", "one");
        for filter in
            ["warn,mcp_deputy=debug", "warn,mcp_deputy::net=debug", "mcp_deputy::net::connection=debug"]
        {
            assert_eq!(written(Some(filter), Form::Plain, say).lines().count(), 1, "{filter}");
        }
        assert_eq!(written(Some("debug,mcp_deputy::net=warn"), Form::Plain, say), "");
    }

    #[test]
    fn libraries_that_log_headers_cannot_be_turned_up() {
        let say = || {
            tracing::trace!(target: "mcp_deputy", "ours");
            tracing::trace!(target: "h2::codec::framed_read", "theirs");
            tracing::debug!(target: "hyper::proto::h1", "theirs");
        };
        for filter in [
            "trace",
            "trace,h2=trace,hyper=debug",
            "trace,h2::codec=trace,hyper::proto::h1=debug",
            "trace, h2::codec::framed_read=trace,,",
        ] {
            assert_eq!(written(Some(filter), Form::Plain, say).lines().count(), 1, "{filter}");
        }
        // Down is their way.
        let warn = || tracing::info!(target: "hyper::client", "theirs");
        for (filter, lines) in [("info", 1), ("error", 0), ("info,hyper=off", 0)] {
            assert_eq!(written(Some(filter), Form::Plain, warn).lines().count(), lines, "{filter}");
        }
    }

    #[test]
    fn nobody_can_forge_a_line() {
        let text =
            written(None, Form::Json, || tracing::info!(path = "/x\n{\"message\":\"forged\"}", "refused"));
        assert_eq!(text.lines().count(), 1);
        let request = Request {
            id: [0; 6],
            method: "GET",
            path: "/x\"}\n{\"message\":\"forged\"".into(),
            span: Span::default(),
        };
        let text = written(None, Form::Json, || request.clone().during(|| tracing::info!("refused")));
        let line: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!(line["message"], "refused");
        let text = written(None, Form::Plain, || request.during(|| tracing::info!("refused")));
        assert_eq!(text.lines().count(), 1);
    }
}
