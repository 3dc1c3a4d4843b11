//! Which keys take effect when the configuration is read again, and which need a restart.
//!
//! What listens, where the store is and with which key, and who we are (`public_url`) is fixed for the life of a process.
//! [`needs_restart`] names the first such key that says something else; then nothing of the new configuration is taken.
//! Everything that is not in [`AT_RESTART`] takes effect at once (docs/operations.md). Called by the composition root.

use secrecy::ExposeSecret;

use super::settings::{LimitSettings, Settings, StoreSettings};

/// Keys that take effect at a restart only.
pub const AT_RESTART: &[&str] = &[
    "public_url",
    "listen",
    "admin_listen",
    "metrics_listen",
    "admin_socket",
    "admin_token",
    "trusted_proxies",
    "tls",
    "store.url",
    "store.encryption_key",
    "store.previous_encryption_keys",
    "limits.max_connections",
    "limits.max_connections_per_address",
    "limits.max_streams",
    "limits.drain_deadline",
];

/// The first key that says something else in `next`, of those that need a restart. TLS may get other files, but be
/// neither switched on nor off.
pub fn needs_restart(current: &Settings, next: &Settings) -> Option<&'static str> {
    let (limits, next_limits): (&LimitSettings, &LimitSettings) = (&current.limits, &next.limits);
    let (store, next_store): (&StoreSettings, &StoreSettings) = (&current.store, &next.store);
    let previous = |store: &StoreSettings| -> Vec<[u8; 32]> {
        store.previous_keys.iter().map(|key| *key.expose()).collect()
    };
    let same = [
        current.public_url.as_str() == next.public_url.as_str(),
        current.listen == next.listen,
        current.admin_listen == next.admin_listen,
        current.metrics_listen == next.metrics_listen,
        current.admin_socket == next.admin_socket,
        current.admin_token.as_ref().map(ExposeSecret::expose_secret)
            == next.admin_token.as_ref().map(ExposeSecret::expose_secret),
        current.trusted_proxies == next.trusted_proxies,
        current.tls.is_some() == next.tls.is_some(),
        store.url == next_store.url,
        store.key.as_ref().map(super::MasterKey::expose)
            == next_store.key.as_ref().map(super::MasterKey::expose),
        previous(store) == previous(next_store),
        limits.max_connections == next_limits.max_connections,
        limits.max_connections_per_address == next_limits.max_connections_per_address,
        limits.max_streams == next_limits.max_streams,
        limits.drain_deadline == next_limits.drain_deadline,
    ];
    AT_RESTART.iter().zip(same).find(|(_, same)| !same).map(|(key, _)| *key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{from_text, keys::SECTIONS};

    const TEXT: &str = "public_url = \"https://mcp.example.com\"\n[provider.github]\npreset = \"github\"\n\
                        client_id = \"x\"\nclient_secret = \"y\"\n[[mcp_server]]\nupstream_url = \"http://127.0.0.1:3000/mcp\"\n";
    const KEY: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    fn settings(text: &str) -> Settings {
        from_text("proxy.toml", text, &|_| None).unwrap()
    }

    #[test]
    fn every_key_that_needs_a_restart_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            std::fs::write(folder.path().join(name), "x").unwrap();
            folder.path().join(name).display().to_string()
        };
        let tls = format!("[tls]\ncertificate = \"{}\"\nkey = \"{}\"\n", file("a"), file("b"));
        let changes = [
            ("public_url", TEXT.replace("https://mcp.", "https://other.")),
            ("listen", format!("listen = \"127.0.0.1:81\"\n{TEXT}")),
            ("admin_listen", format!("admin_listen = \"127.0.0.1:81\"\n{TEXT}")),
            ("metrics_listen", format!("metrics_listen = \"127.0.0.1:81\"\n{TEXT}")),
            ("admin_socket", format!("admin_socket = \"off\"\n{TEXT}")),
            ("admin_token", format!("admin_token = \"{KEY}\"\n{TEXT}")),
            ("trusted_proxies", format!("trusted_proxies = [\"10.0.0.1\"]\n{TEXT}")),
            ("tls", format!("{TEXT}{tls}")),
            ("store.url", format!("{TEXT}[store]\nurl = \"memory:\"\n")),
            ("store.encryption_key", format!("{TEXT}[store]\nencryption_key = \"{KEY}\"\n")),
            (
                "store.previous_encryption_keys",
                format!("{TEXT}[store]\nprevious_encryption_keys = [\"{KEY}\"]\n"),
            ),
            ("limits.max_connections", format!("{TEXT}[limits]\nmax_connections = 77\n")),
            (
                "limits.max_connections_per_address",
                format!("{TEXT}[limits]\nmax_connections_per_address = 77\n"),
            ),
            ("limits.max_streams", format!("{TEXT}[limits]\nmax_streams = 77\n")),
            ("limits.drain_deadline", format!("{TEXT}[limits]\ndrain_deadline = \"1s\"\n")),
        ];
        assert_eq!(changes.iter().map(|(key, _)| *key).collect::<Vec<_>>(), AT_RESTART);
        for (key, text) in &changes {
            assert_eq!(needs_restart(&settings(TEXT), &settings(text)), Some(*key));
            assert_eq!(needs_restart(&settings(text), &settings(text)), None);
        }
    }

    #[test]
    fn the_documentation_lists_them() {
        let text = include_str!("../../docs/operations.md");
        let list = text.split("<!-- reload: at a restart -->").nth(1).unwrap().split("<!--").next().unwrap();
        let listed: Vec<_> =
            list.trim().lines().map(|line| line.trim_start_matches("- ").trim_matches('`')).collect();
        assert_eq!(listed, AT_RESTART);
    }

    #[test]
    fn they_are_keys_or_sections() {
        for key in AT_RESTART {
            let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
            let section = SECTIONS.iter().find(|known| known.path == section).unwrap();
            assert!(section.names().any(|known| known == name), "{key}");
        }
    }

    #[test]
    fn everything_else_takes_effect_at_once() {
        let other = TEXT
            .replace("client_secret = \"y\"", "client_secret = \"z\"")
            .replace("upstream_url", "path = \"/other\"\nupstream_url")
            + "[access]\nusers = [\"github:1\"]\n[limits]\nregistrations_per_minute = 3\nidle_timeout = \"3s\"\n[tokens]\naccess_ttl = \"5m\"\n";
        assert_eq!(needs_restart(&settings(TEXT), &settings(&other)), None);
    }
}
