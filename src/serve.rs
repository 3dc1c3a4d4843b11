//! Listeners, workers, drain.
