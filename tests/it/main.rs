//! The gateway over real HTTP, with everything around it.
//!
//! - `journey_*`: how it is meant: from a URL to a tool call, with every kind of client, twice, five times at once.
//! - `attack_*`: named after the attack; each must fail.
//! - `proxy_*`: what crosses the border to the MCP server and back.
//! - `wire_*`: exact statuses, headers and pages.
//! - `process_*`: the real binary: `kill -9`, SIGTERM, the command line.
//!
//! Logs at level trace and every secret go below `target/test-logs` and `target/test-secrets` (or `MCP_DEPUTY_TEST_DIR`).

#[cfg(test)]
mod attack_account;
#[cfg(test)]
mod attack_advisories;
#[cfg(test)]
mod attack_assertions;
#[cfg(test)]
mod attack_audience;
#[cfg(test)]
mod attack_breakages;
#[cfg(test)]
mod attack_codes;
#[cfg(test)]
mod attack_deputy_callback;
#[cfg(test)]
mod attack_deputy_changed;
#[cfg(test)]
mod attack_deputy_consent;
#[cfg(test)]
mod attack_deputy_forged;
#[cfg(test)]
mod attack_deputy_remembered;
#[cfg(test)]
mod attack_documents;
#[cfg(test)]
mod attack_floods;
#[cfg(test)]
mod attack_gateways;
#[cfg(test)]
mod attack_headers;
#[cfg(test)]
mod attack_http2;
#[cfg(test)]
mod attack_journeys;
#[cfg(test)]
mod attack_metadata;
#[cfg(test)]
mod attack_methods;
#[cfg(test)]
mod attack_operator;
#[cfg(test)]
mod attack_operator_surfaces;
#[cfg(test)]
mod attack_pkce;
#[cfg(test)]
mod attack_policy;
#[cfg(test)]
mod attack_redirects;
#[cfg(test)]
mod attack_refresh;
#[cfg(test)]
mod attack_registration;
#[cfg(test)]
mod attack_restore;
#[cfg(test)]
mod attack_sessions;
#[cfg(test)]
mod attack_smuggling;
#[cfg(test)]
mod attack_state;
#[cfg(test)]
mod attack_templates;
#[cfg(test)]
mod journey_access;
#[cfg(test)]
mod journey_account;
#[cfg(test)]
mod journey_accounts;
#[cfg(test)]
mod journey_branding;
#[cfg(test)]
mod journey_choices;
#[cfg(test)]
mod journey_clients;
#[cfg(test)]
mod journey_documents;
#[cfg(test)]
mod journey_keys;
#[cfg(test)]
mod journey_races;
#[cfg(test)]
mod journey_reload;
#[cfg(test)]
mod journey_whole;
#[cfg(test)]
mod process_completions;
#[cfg(test)]
mod process_crash;
#[cfg(test)]
mod process_doctor;
#[cfg(test)]
mod process_files;
#[cfg(test)]
mod process_first;
#[cfg(test)]
mod process_keys;
#[cfg(test)]
mod process_life;
#[cfg(test)]
mod process_log;
#[cfg(test)]
mod process_operator;
#[cfg(test)]
mod process_reload;
#[cfg(all(test, not(feature = "otel")))]
mod process_traces;
#[cfg(test)]
mod proxy_border;
#[cfg(test)]
mod proxy_door;
#[cfg(test)]
mod proxy_events;
#[cfg(test)]
mod proxy_policy;
#[cfg(test)]
mod proxy_refused;
#[cfg(test)]
mod proxy_streams;
#[cfg(test)]
mod support;
#[cfg(test)]
mod wire_endpoints;
#[cfg(test)]
mod wire_home;
#[cfg(test)]
mod wire_introspect;
#[cfg(test)]
mod wire_metrics;
#[cfg(test)]
mod wire_pages;
#[cfg(test)]
mod wire_registration;
#[cfg(test)]
mod wire_tls;
