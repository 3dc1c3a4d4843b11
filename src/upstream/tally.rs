//! How calls to third parties went, for `/metrics`: by provider entry and kind of call, how long and with which outcome.
//!
//! The names are the operator's (provider entries), ours (kinds of call) and slugs of ours (reasons): never a word of an
//! answer. One tally lives as long as the process, so that a provider that is configured anew goes on counting.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::flow::{
    count::{Measured, SLOW, Spread},
    ports::ThirdPartyError,
};

/// The kinds of calls.
const STEPS: [&str; 4] = ["identify", "redeem", "refresh", "revoke"];

/// How all calls went.
#[derive(Debug, Default)]
pub struct ThirdPartyTally {
    counts: Mutex<BTreeMap<String, BTreeMap<&'static str, Step>>>,
    also: Option<Told>,
}

/// Is told of a call when it is over, in its task: the provider entry, the kind of call, how long it took, and why there is no
/// good answer (empty where there is one).
pub type Told = fn(&str, &'static str, Duration, &'static str);

#[derive(Debug)]
struct Step {
    took: Spread,
    /// By outcome and reason.
    outcomes: BTreeMap<(&'static str, &'static str), u64>,
}

/// How calls of one kind to one provider entry went.
#[derive(Debug)]
pub struct StepCounts {
    /// The name of the entry.
    pub provider: String,
    /// The kind of call.
    pub step: &'static str,
    /// How long they took, whatever came of them.
    pub took: Measured,
    /// Outcome, reason (empty where it went well), how many.
    pub outcomes: Vec<(&'static str, &'static str, u64)>,
}

impl ThirdPartyTally {
    /// One that tells somebody of each call, too.
    pub fn telling(also: Option<Told>) -> Self {
        Self { also, ..Self::default() }
    }

    /// Begins to count for an entry, so that it is shown before anything happened.
    pub(super) fn expect(&self, provider: &str) {
        let mut all = self.locked();
        let steps = all.entry(provider.to_owned()).or_default();
        for step in STEPS {
            steps.entry(step).or_insert_with(Step::new);
        }
    }

    /// A call was answered, or was not.
    pub(super) fn note<T>(
        &self,
        provider: &str,
        step: &'static str,
        took: Duration,
        result: &Result<T, ThirdPartyError>,
    ) {
        let outcome = match result {
            Ok(_) => ("answered", ""),
            Err(ThirdPartyError::Refused(reason)) => ("refused", *reason),
            Err(ThirdPartyError::Unavailable(reason)) => ("unavailable", *reason),
        };
        if let Some(also) = self.also {
            also(provider, step, took, outcome.1);
        }
        let mut all = self.locked();
        let Some(steps) = all.get_mut(provider) else { return };
        let noted = steps.entry(step).or_insert_with(Step::new);
        noted.took.note_shared(took);
        *noted.outcomes.entry(outcome).or_default() += 1;
    }

    /// What was counted so far.
    pub fn so_far(&self) -> Vec<StepCounts> {
        let all = self.locked();
        let steps = all.iter().flat_map(|(provider, steps)| steps.iter().map(move |step| (provider, step)));
        let counts = |(provider, (step, noted)): (&String, (&&'static str, &Step))| StepCounts {
            provider: provider.clone(),
            step,
            took: noted.took.so_far(),
            outcomes: noted
                .outcomes
                .iter()
                .map(|((outcome, reason), count)| (*outcome, *reason, *count))
                .collect(),
        };
        steps.map(counts).collect()
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<String, BTreeMap<&'static str, Step>>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Step {
    fn new() -> Self {
        Self { took: Spread::new(SLOW), outcomes: BTreeMap::from([(("answered", ""), 0)]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_provider_kind_and_outcome() {
        let tally = ThirdPartyTally::default();
        tally.expect("github");
        assert_eq!(tally.so_far().len(), STEPS.len(), "before anything happened");
        let took = Duration::from_millis(30);
        tally.note("github", "redeem", took, &Ok(()));
        tally.note::<()>("github", "redeem", took, &Err(ThirdPartyError::Refused("bad_code")));
        tally.note::<()>("github", "redeem", took, &Err(ThirdPartyError::Unavailable("timeout")));
        tally.note("nobody configured this", "redeem", took, &Ok(()));
        let counts = tally.so_far();
        assert_eq!(counts.len(), STEPS.len());
        let redeem = counts.iter().find(|step| step.step == "redeem").unwrap();
        assert_eq!(
            redeem.outcomes,
            [("answered", "", 1), ("refused", "bad_code", 1), ("unavailable", "timeout", 1)]
        );
        assert_eq!((redeem.took.count(), redeem.took.sum()), (3, 90_000));
    }
}
