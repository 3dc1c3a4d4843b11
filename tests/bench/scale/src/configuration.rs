//! The `proxy.toml` that all parts share: what seeds a store in this process and what the gateway serves it with are one.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
};

pub const PROVIDER: &str = "third";

/// Writes a configuration into `folder` unless there is one, and returns its path. Its ports are free ones.
pub fn prepare(folder: &Path) -> PathBuf {
    let path = folder.join("proxy.toml");
    if path.exists() {
        return path;
    }
    fs::create_dir_all(folder).expect("the folder can be made");
    let [public, admin, upstream] = free_ports();
    let text = format!(
        r#"public_url = "http://127.0.0.1:{public}"
listen = "127.0.0.1:{public}"
admin_listen = "127.0.0.1:{admin}"

[store]
url = "disk:{}"
encryption_key = "{}"

[registration]
# A million registrations that nobody has approved yet: beyond the default of 10,000.
max_unused_clients = 1000000

[tokens]
access_ttl = "24h"

[limits]
registrations_per_minute = 1000000

[provider.{PROVIDER}]
title = "Third"
client_id = "static"
client_secret = "static-secret"
issuer = "https://third.example"
authorization_endpoint = "https://third.example/authorize"
token_endpoint = "https://third.example/token"
userinfo_endpoint = "http://127.0.0.1:{upstream}/user"
subject = "id"
username = "login"

[[mcp_server]]
path = "/mcp"
name = "Tools"
upstream_url = "http://127.0.0.1:{upstream}/mcp"
provider = "{PROVIDER}"

[[mcp_server.scope]]
name = "read"
description = "See who you are"
provider_scopes = ["read:user"]
default = true
"#,
        folder.join("data").display(),
        (0_u8..32).map(|byte| format!("{byte:02x}")).collect::<String>(),
    );
    fs::write(&path, text).expect("the configuration can be written");
    path
}

fn free_ports() -> [u16; 3] {
    let bound = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    bound.map(|listener| listener.local_addr().expect("an address").port())
}
