//! What commands have in common that tell what the gateway answered: a line on standard output, a member of an answer.

use std::io::{self, Write};

use serde_json::Value;

use super::reach::Unreached;

/// A line, or several.
pub(super) fn out(text: &str) -> Result<(), Unreached> {
    written(writeln!(io::stdout(), "{text}"))
}

/// What became of writing something.
pub(super) fn written(outcome: io::Result<()>) -> Result<(), Unreached> {
    outcome.or_else(written_anyway)
}

/// A reader that has seen enough is no mistake.
#[expect(clippy::needless_pass_by_value, reason = "the signature is or_else's")]
pub(super) fn written_anyway(error: io::Error) -> Result<(), Unreached> {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Ok(());
    }
    Err(Unreached::Failed(format!("the answer cannot be written: {error}")))
}

/// A text of an answer; a hyphen where there is none.
pub(super) fn text(item: &Value, key: &str) -> String {
    item.get(key).and_then(Value::as_str).unwrap_or("-").to_owned()
}
