//! No traces: the configuration has refused to name a collector.
#![expect(
    clippy::unnecessary_wraps,
    clippy::unused_async,
    clippy::unused_self,
    reason = "the same shapes as with the feature"
)]

use std::sync::Arc;

use crate::{
    config::Settings,
    flow::fault::Fault,
    gateway::Surroundings,
    observe::trace::{TraceTally, Tracer},
    upstream::Told,
};

/// Nothing is followed.
pub(in crate::gateway) struct Traces;

/// A configuration under which nothing is followed.
pub(in crate::gateway) struct Prepared;

impl Traces {
    pub(in crate::gateway) fn new(
        _: &Settings,
        _: &Surroundings,
        _: &Arc<TraceTally>,
    ) -> Result<Self, Fault> {
        Ok(Self)
    }

    pub(in crate::gateway) fn tracer(&self) -> Tracer {
        Tracer {}
    }

    pub(in crate::gateway) fn prepare(_: &Settings, _: &Surroundings) -> Result<Prepared, Fault> {
        Ok(Prepared)
    }

    pub(in crate::gateway) fn take(&self, _: Prepared) {}

    pub(in crate::gateway) fn begin(&self) {}

    pub(in crate::gateway) async fn end(&self) {}

    /// Nobody is told of calls to third parties.
    pub(in crate::gateway) const CALLED: Option<Told> = None;
}
