//! One certificate for every gateway of this process, and connections that trust it and nothing else.

use std::sync::{Arc, OnceLock};

use mcp_deputy::{net::tls::Certificates, sandbox::fetch::Fetch};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{RootCertStore, ServerConfig};

fn made() -> &'static (Arc<ServerConfig>, RootCertStore) {
    static MADE: OnceLock<(Arc<ServerConfig>, RootCertStore)> = OnceLock::new();
    MADE.get_or_init(|| {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).unwrap();
        let certificates =
            Certificates::from_pem(cert.pem().as_bytes(), signing_key.serialize_pem().as_bytes()).unwrap();
        (certificates.server_config().unwrap(), roots)
    })
}

/// What a gateway on https presents.
pub(crate) fn server() -> Arc<ServerConfig> {
    Arc::clone(&made().0)
}

/// Connections of one's own, to gateways on http and on https.
pub(crate) fn fetch() -> Fetch {
    Fetch::trusting(made().1.clone()).unwrap()
}
