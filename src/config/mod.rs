//! Configuration: `proxy.toml`, the environment, and what they mean.
//!
//! In two stages: `file` is what was written (unknown keys are errors with a line and a suggestion, any value may be
//! `{ env = "NAME" }` or `{ file = "PATH" }`); [`Settings`] is what holds, complete and valid. Between them stands one
//! table of keys (`keys`), from which the annotated `proxy.toml` and `docs/configuration.md` are generated
//! ([`mod@reference`]). Environment variables fill what the file leaves out, so that containers need no file.
//!
//! Must never show a value in an error, never fall back to a default for something that was written wrongly, and never
//! bind, connect or write. The command line calls [`load`] and exits with 64 on a [`ConfigError`]; everything above
//! reads [`Settings`].

mod branding;
mod change;
mod document;
mod environment;
mod error;
mod file;
mod keys;
mod master_key;
mod presets;
pub mod reference;
mod resolve;
pub mod schema;
mod settings;
mod sources;
pub mod starter;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::Path;

pub use branding::{BRAND_COLORS, BrandingSettings};
pub use change::{AT_RESTART, needs_restart};
pub use error::ConfigError;
use error::{Place, Refused, Source};
use file::File;
pub use master_key::{MasterKey, MasterKeyError};
pub use resolve::Whereabouts;
use serde::Deserialize;
pub use settings::{
    AdminSocket, ClientSettings, ConsentMode, ConsentSettings, Credential, DynamicRegistration,
    ElsewhereSettings, LimitSettings, MissingResource, OWN_ROUTES, RegistrationManagement,
    RegistrationSettings, ResourceServerSettings, ScopeSettings, ServerSettings, Settings, StoreSettings,
    StoreUrl, TlsFiles, TokenSettings, TracingSettings,
};
pub use sources::{Mark, mark};
use toml::{Spanned, de::DeTable};

/// The file that is read when none is named.
pub const DEFAULT_FILE: &str = "proxy.toml";

/// Reads the configuration: the file at `path`; without one `./proxy.toml` if it exists; without that the environment
/// alone. `env` looks variables up.
pub fn load(path: Option<&Path>, env: &dyn Fn(&str) -> Option<String>) -> Result<Settings, ConfigError> {
    let default = Path::new(DEFAULT_FILE);
    match path.or_else(|| default.exists().then_some(default)) {
        None => from_environment(env),
        Some(path) => {
            let text = fs::read_to_string(path).map_err(|error| {
                ConfigError::about(path.display(), format!("cannot be read: {}", document::reason(&error)))
            })?;
            from_text(&path.display().to_string(), &text, env)
        }
    }
}

/// Reads the configuration once more, for a process that runs already. Unlike [`load`] it takes neither something that cannot be read twice (a
/// pipe) nor, for a file that is gone, the environment alone.
pub fn load_again(
    path: Option<&Path>,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Settings, ConfigError> {
    match path.and_then(sources::fleeting) {
        Some(pipe) => Err(ConfigError::about(pipe.display(), "cannot be read again, since it is no file")),
        None => load(path, env),
    }
}

/// Reads a configuration from `text`; `name` is how errors call the file.
pub fn from_text(
    name: &str,
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Settings, ConfigError> {
    let source = Source::File { name, text };
    written(text, env).and_then(|file| complete(file, env)).map_err(|refused| source.locate(refused))
}

/// Reads the smallest useful configuration, from the environment alone.
pub fn from_environment(env: &dyn Fn(&str) -> Option<String>) -> Result<Settings, ConfigError> {
    complete(File::default(), env).map_err(|refused| Source::Environment.locate(refused))
}

/// Where a running gateway with this configuration is reached by its operator. Everything else in it may be wrong or not to be
/// had here: whoever looks for a gateway need not have its secrets in the environment.
pub fn locate(path: Option<&Path>, env: &dyn Fn(&str) -> Option<String>) -> Result<Whereabouts, ConfigError> {
    let default = Path::new(DEFAULT_FILE);
    let Some(path) = path.or_else(|| default.exists().then_some(default)) else {
        return found(File::default(), env).map_err(|refused| Source::Environment.locate(refused));
    };
    let text = fs::read_to_string(path).map_err(|error| {
        ConfigError::about(path.display(), format!("cannot be read: {}", document::reason(&error)))
    })?;
    let name = path.display().to_string();
    let source = Source::File { name: &name, text: &text };
    document::skim(&text, env, UNKNOWN)
        .and_then(understood)
        .and_then(|file| found(file, env))
        .map_err(|refused| source.locate(refused))
}

/// What stands for a variable that is not set here, or for a file that cannot be read.
const UNKNOWN: &str = "?";

fn found(mut file: File, env: &dyn Fn(&str) -> Option<String>) -> Result<Whereabouts, Refused> {
    environment::fill(&mut file, env);
    resolve::whereabouts(&file)
}

fn written(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<File, Refused> {
    document::read(text, env).and_then(understood)
}

fn understood(document: Spanned<DeTable<'_>>) -> Result<File, Refused> {
    File::deserialize(toml::de::Deserializer::from(document)).map_err(|error| {
        // The tree fits the table of keys, and a test holds the structs against the table, so this is not reached; its
        // message may contain a value, so it is not shown.
        let place = error.span().map_or(Place::Nowhere, |span| Place::Byte(span.start));
        Refused::at(place, "this value is not understood")
    })
}

fn complete(mut file: File, env: &dyn Fn(&str) -> Option<String>) -> Result<Settings, Refused> {
    environment::fill(&mut file, env);
    resolve::resolve(file)
}
