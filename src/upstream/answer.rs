//! Values in the JSON that a third party answers with.
//!
//! Must never fall back from one value to another, and never repair one: an id is taken exactly or not at all.

use serde_json::{Map, Value};

/// The longest id, in bytes.
const MAX_LENGTH: usize = 255;

/// The value at the end of a path of member names.
pub(super) fn at<'a>(answer: &'a Map<String, Value>, path: &[String]) -> Option<&'a Value> {
    let (last, parents) = path.split_last()?;
    let parent = parents.iter().try_fold(answer, |members, name| members.get(name)?.as_object())?;
    parent.get(last)
}

/// An id that never changes, exactly as the third party wrote it.
pub(super) fn subject(value: &Value) -> Option<String> {
    let subject = match value {
        // A number above 64 bits was read as a floating point number and is refused with the fractions.
        Value::Number(number) if !number.is_f64() => number.to_string(),
        Value::String(text) => text.clone(),
        _ => return None,
    };
    let usable = !subject.is_empty() && subject.len() <= MAX_LENGTH && !subject.contains(char::is_control);
    usable.then_some(subject)
}
