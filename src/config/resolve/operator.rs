//! How the operator reaches the running gateway: the socket, and the token for the admin listener.

use std::net::SocketAddr;
use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};

use super::value::parse;
use super::{address, store_url};
use crate::config::error::Refused;
use crate::config::file::{File, Secret, Written};
use crate::config::settings::{AdminSocket, StoreUrl};

/// The fewest characters of a token that opens everything.
const MIN_TOKEN: usize = 32;
/// The longest path of a socket, in bytes, on every system that we run on.
const MAX_SOCKET: usize = 103;

/// Where a gateway is reached by its operator.
#[derive(Clone, Debug)]
pub struct Whereabouts {
    /// The path of its socket, where it has one.
    pub socket: Option<PathBuf>,
    /// Its admin listener.
    pub admin_listen: SocketAddr,
    /// What opens the admin API there, where that can be known here.
    pub admin_token: Option<SecretString>,
    /// Its store.
    pub store: StoreUrl,
    /// Whether it names the encryption key itself.
    pub key_is_configured: bool,
}

/// Reads no more of the file than is needed to find the gateway.
pub(in crate::config) fn whereabouts(file: &File) -> Result<Whereabouts, Refused> {
    let store = match &file.store.url {
        Some(written) => parse("the store's url", written, store_url)?,
        None => StoreUrl::Disk(PathBuf::from("./data")),
    };
    Ok(Whereabouts {
        socket: socket(file.admin_socket.as_ref())?.path(&store),
        admin_listen: address(
            "admin_listen",
            file.admin_listen.as_ref(),
            SocketAddr::from(([127, 0, 0, 1], 9090)),
        )?,
        // One that is not to be had here is as good as none.
        admin_token: token(file.admin_token.as_ref()).unwrap_or_default(),
        store,
        key_is_configured: file.store.encryption_key.is_some(),
    })
}

pub(super) fn socket(written: Option<&Written<String>>) -> Result<AdminSocket, Refused> {
    let Some(written) = written else { return Ok(AdminSocket::default()) };
    parse("admin_socket", written, |text| match text {
        "" => Err("must be the path of a socket, or off".to_owned()),
        "off" => Ok(AdminSocket::Off),
        path if path.len() > MAX_SOCKET => {
            Err(format!("must be the path of a socket, of {MAX_SOCKET} bytes at most; write a shorter one"))
        }
        path => Ok(AdminSocket::At(PathBuf::from(path))),
    })
}

pub(super) fn token(written: Option<&Written<Secret>>) -> Result<Option<SecretString>, Refused> {
    let Some(written) = written else { return Ok(None) };
    let text = written.value.0.expose_secret();
    if text.len() < MIN_TOKEN || text.bytes().any(|byte| !byte.is_ascii_graphic()) {
        let sentence = "must be at least 32 printable ASCII characters without blanks; make one with: \
                        openssl rand -hex 32";
        return Err(Refused::at(written.place, format!("admin_token {sentence}")));
    }
    Ok(Some(SecretString::from(text)))
}
