//! How the operator reaches the gateway.

use std::path::{Path, PathBuf};

use secrecy::ExposeSecret;

use super::*;
use crate::config::{AdminSocket, StoreUrl, locate};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn top(keys: &str) -> String {
    format!("{keys}\n{SMALLEST}")
}

fn path(settings: &Settings) -> Option<PathBuf> {
    settings.admin_socket.path(&settings.store.url)
}

#[test]
fn the_socket_is_in_the_folder_of_the_store_unless_somebody_says_otherwise() {
    assert_eq!(path(&good(SMALLEST)), Some(PathBuf::from("./data/admin.sock")));
    let memory = format!("{SMALLEST}[store]\nurl = \"memory:\"\n");
    assert_eq!(path(&good(&memory)), None);
    let named = good(&format!("admin_socket = \"/run/x.sock\"\n{memory}"));
    assert_eq!(path(&named), Some(PathBuf::from("/run/x.sock")));
    assert_eq!(path(&good(&top("admin_socket = \"off\""))), None);
    assert_eq!(good(&top("admin_socket = \"./off\"")).admin_socket, AdminSocket::At("./off".into()));
    assert!(bad(&top("admin_socket = \"\"")).contains("admin_socket must be the path of a socket, or off"));
    let long = bad(&top(&format!("admin_socket = \"/{}\"", "x".repeat(103))));
    assert!(long.contains("103 bytes at most"), "{long}");
}

#[test]
fn the_admin_token_is_long_and_nobody_sees_it() {
    assert!(good(SMALLEST).admin_token.is_none());
    let settings = good(&top(&format!("admin_token = \"{TOKEN}\"")));
    assert_eq!(settings.admin_token.as_ref().map(ExposeSecret::expose_secret), Some(TOKEN));
    assert!(!format!("{settings:?}").contains(TOKEN));
    for short in [&TOKEN[1..], "0123456789abcdef 0123456789abcdef", ""] {
        let said = bad(&top(&format!("admin_token = \"{short}\"")));
        assert!(said.contains("admin_token must be at least 32"), "{said}");
        assert!(short.is_empty() || !said.contains(short));
    }
}

#[test]
fn whoever_looks_for_the_gateway_needs_nothing_else_of_its_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("proxy.toml");
    let found = |text: &str, env: &dyn Fn(&str) -> Option<String>| {
        fs::write(&file, text).unwrap();
        locate(Some(Path::new(&file)), env)
    };
    let nothing = |_: &str| None;
    let text = top("admin_listen = \"127.0.0.1:7070\"\nadmin_token = { env = \"T\" }")
        .replace("\"our-canary-secret\"", "{ env = \"UNSET\" }")
        .replace("\"our-id\"", "{ file = \"/nowhere/id\" }");
    assert!(text.contains("UNSET") && text.contains("/nowhere/id"));
    let there = found(&text, &nothing).unwrap();
    assert_eq!(there.socket, Some(PathBuf::from("./data/admin.sock")));
    assert_eq!(there.admin_listen.to_string(), "127.0.0.1:7070");
    assert_eq!(there.store, StoreUrl::Disk("./data".into()));
    assert!(there.admin_token.is_none(), "it is not to be had here");
    let with_token = found(&text, &|name| (name == "T").then(|| TOKEN.to_owned())).unwrap();
    assert_eq!(with_token.admin_token.as_ref().map(ExposeSecret::expose_secret), Some(TOKEN));
    // A container's: no file, only the environment.
    let container = |name: &str| (name == "MCP_DEPUTY_STORE").then(|| "disk:/data".to_owned());
    fs::remove_file(&file).unwrap();
    assert!(locate(Some(Path::new(&file)), &container).is_err());
    // What it needs is judged as ever.
    assert!(found("admin_listen = \"nowhere\"", &nothing).is_err());
    assert!(found("admin_lisen = \"127.0.0.1:1\"", &nothing).is_err());
    assert!(found(&text.replace("client_secret", "client_secrets"), &nothing).is_err());
}
