//! The attack page: the honest flow and the attack, for a person to look at.
//!
//! Placeholder.

use super::stage::{Port, Stage, StageError};

/// The attack page, open.
#[derive(Debug)]
pub struct AttackPage {
    origin: String,
}

impl AttackPage {
    /// Opens it.
    #[expect(clippy::unused_async, reason = "placeholder")]
    pub async fn open(_stage: &Stage, _page: Port, _attacker: Port) -> Result<Self, StageError> {
        Ok(Self { origin: String::new() })
    }

    /// Where it is.
    pub fn origin(&self) -> &str {
        &self.origin
    }
}
