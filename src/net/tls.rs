//! TLS in front: certificates from PEM, swapped without a restart.
//!
//! One place knows rustls' server side. The cryptography is always named (aws-lc-rs) and never taken from a process-wide
//! default. TLS 1.2 and 1.3, HTTP/2 preferred over HTTP/1.1, sessions resumed by tickets whose keys rotate and never
//! leave the process.
//!
//! A changed certificate is used by the next handshake ([`Certificates::reload`], [`Certificates::watch`]); a pair that
//! cannot be read or does not fit together leaves the old one in place. Must never print a key.

use std::{
    fmt,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::certificate::not_after;

/// The largest certificate or key file that is read, in bytes.
const MAX_PEM: u64 = 1024 * 1024;

/// Why TLS cannot be set up from these files.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The first is no PEM with at least one certificate.
    #[error("the certificate file has no readable certificate (PEM)")]
    Certificate,
    /// The key is no PEM with a private key, or of a kind that is not supported.
    #[error("the key file has no readable private key (PEM)")]
    Key,
    /// The key is not the certificate's.
    #[error("the private key does not belong to the certificate")]
    Mismatch,
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The TLS library refused its own defaults.
    #[error("TLS could not be set up")]
    Setup(#[source] rustls::Error),
}

/// The certificate that the gateway shows, and its key. Can be swapped while it runs.
pub struct Certificates {
    current: RwLock<Arc<CertifiedKey>>,
    /// What the files held that the present pair is from, where it is from files.
    from: Mutex<Option<Pem>>,
    provider: Arc<CryptoProvider>,
}

/// What a certificate file and a key file hold.
type Pem = (Vec<u8>, Zeroizing<Vec<u8>>);

/// A certificate and its key, which fit together, and what the files held.
pub struct Pair(Arc<CertifiedKey>, Pem);

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pair(…)")
    }
}

impl Certificates {
    /// From a PEM chain (the own certificate first) and a PEM key (PKCS#8, PKCS#1 or SEC1).
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Arc<Self>, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let current = RwLock::new(Arc::new(certified(chain, key, &provider)?));
        Ok(Arc::new(Self { current, from: Mutex::default(), provider }))
    }

    /// From a PEM chain file and a PEM key file.
    pub fn from_files(files: &PemFiles) -> Result<Arc<Self>, TlsError> {
        let pem = files.read()?;
        let certificates = Self::from_pem(&pem.0, &pem.1)?;
        certificates.note(Some(pem));
        Ok(certificates)
    }

    /// Uses this pair from the next handshake on. On an error nothing changes.
    pub fn reload(&self, chain: &[u8], key: &[u8]) -> Result<(), TlsError> {
        let pem = (chain.to_vec(), Zeroizing::new(key.to_vec()));
        self.show(Pair(Arc::new(certified(chain, key, &self.provider)?), pem));
        Ok(())
    }

    /// Reads a pair that fits together, to be shown later.
    pub fn pair(files: &PemFiles) -> Result<Pair, TlsError> {
        let pem = files.read()?;
        Ok(Pair(Arc::new(certified(&pem.0, &pem.1, &aws_lc_rs::default_provider())?), pem))
    }

    /// Uses this pair from the next handshake on.
    pub fn show(&self, pair: Pair) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = pair.0;
        self.note(Some(pair.1));
    }

    fn note(&self, from: Option<Pem>) {
        *self.from.lock().unwrap_or_else(PoisonError::into_inner) = from;
    }

    /// Until when the certificate that is shown is good, in seconds since 1970; `None` where it does not say so as it should.
    pub fn not_after(&self) -> Option<u64> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        not_after(current.cert.first()?)
    }

    /// Looks at the files again and again, `every` so often, and reloads when their content changed. Ends with `stop`.
    ///
    /// Content is compared, not times: a renewed secret in a container is a changed symbolic link. It is compared with what is shown and
    /// not with what the first look finds: files that changed before it have changed too.
    pub async fn watch(self: Arc<Self>, files: PemFiles, every: Duration, stop: CancellationToken) {
        let mut known = self.from.lock().unwrap_or_else(PoisonError::into_inner).clone();
        while stop.run_until_cancelled(tokio::time::sleep(every)).await.is_some() {
            let pair = match files.read() {
                Ok(pair) => pair,
                Err(error) => {
                    tracing::warn!(reason = "certificate_unreadable", %error, "the old certificate stays in use");
                    continue;
                }
            };
            if known.as_ref() == Some(&pair) {
                continue;
            }
            match self.reload(&pair.0, &pair.1) {
                Ok(()) => tracing::info!(certificate = %files.certificate.display(), "certificate reloaded"),
                Err(error) => {
                    tracing::warn!(reason = "certificate_unusable", %error, "the old certificate stays in use");
                }
            }
            known = Some(pair);
        }
    }

    /// What a listener needs: ALPN `h2` and `http/1.1`, no client certificates, resumption by tickets.
    pub fn server_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, TlsError> {
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as _);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(TlsError::Setup)?;
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificates(…)")
    }
}

/// Where certificate and key lie.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PemFiles {
    /// The chain, own certificate first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

impl PemFiles {
    fn read(&self) -> Result<Pem, TlsError> {
        Ok((read(&self.certificate)?, Zeroizing::new(read(&self.key)?)))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let mut bytes = Vec::new();
    let opened = File::open(path).and_then(|file| file.take(MAX_PEM).read_to_end(&mut bytes));
    opened.map_err(|source| TlsError::Read { path: path.to_owned(), source })?;
    Ok(bytes)
}

fn certified(chain: &[u8], key: &[u8], provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>().map_err(|_| TlsError::Certificate)?;
    if chain.is_empty() {
        return Err(TlsError::Certificate);
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::Key)?;
    let key = provider.key_provider.load_private_key(key).map_err(|_| TlsError::Key)?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => Err(TlsError::Mismatch),
        Err(_) => Err(TlsError::Certificate),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    fn shown(certificates: &Certificates) -> Vec<u8> {
        certificates.current.read().unwrap().cert.first().unwrap().to_vec()
    }

    #[test]
    fn only_a_fitting_pair_is_taken() {
        let ((chain, key), (_, other)) = (pair(), pair());
        assert!(Certificates::from_pem(chain.as_bytes(), key.as_bytes()).is_ok());
        let refused =
            |chain: &str, key: &str| Certificates::from_pem(chain.as_bytes(), key.as_bytes()).unwrap_err();
        assert!(matches!(refused(&chain, &other), TlsError::Mismatch));
        assert!(matches!(refused("", &key), TlsError::Certificate));
        assert!(matches!(refused(&key, &key), TlsError::Certificate));
        assert!(matches!(refused(&chain, &chain), TlsError::Key));
    }

    #[test]
    fn a_bad_reload_changes_nothing() {
        let ((chain, key), (fresh, fresh_key)) = (pair(), pair());
        let certificates = Certificates::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
        let before = shown(&certificates);
        assert!(certificates.reload(fresh.as_bytes(), key.as_bytes()).is_err());
        assert_eq!(shown(&certificates), before);
        assert_eq!(certificates.not_after(), not_after(&before));
        certificates.reload(fresh.as_bytes(), fresh_key.as_bytes()).unwrap();
        assert_ne!(shown(&certificates), before);
    }

    #[tokio::test]
    async fn changed_files_are_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let files = PemFiles { certificate: folder.path().join("c.pem"), key: folder.path().join("k.pem") };
        let write = |(chain, key): (String, String)| {
            std::fs::write(&files.certificate, chain).unwrap();
            std::fs::write(&files.key, key).unwrap();
        };
        write(pair());
        let certificates = Certificates::from_files(&files).unwrap();
        let before = shown(&certificates);
        let stop = CancellationToken::new();
        let every = Duration::from_millis(10);
        let watching = tokio::spawn(Arc::clone(&certificates).watch(files.clone(), every, stop.clone()));
        tokio::time::sleep(3 * every).await;
        write(pair());
        let changed = async {
            while shown(&certificates) == before {
                tokio::time::sleep(every).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), changed).await.unwrap();
        stop.cancel();
        watching.await.unwrap();
    }

    /// A start takes a while, and so does a reload: what is renewed between the reading of the files and the first look at them is
    /// no smaller change than any other.
    #[tokio::test]
    async fn files_that_changed_before_the_watch_began_are_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let files = PemFiles { certificate: folder.path().join("c.pem"), key: folder.path().join("k.pem") };
        let write = |(chain, key): (String, String)| {
            std::fs::write(&files.certificate, chain).unwrap();
            std::fs::write(&files.key, key).unwrap();
        };
        let every = Duration::from_millis(10);
        for reloads in [false, true] {
            write(pair());
            let certificates = Certificates::from_files(&files).unwrap();
            if reloads {
                write(pair());
                certificates.show(Certificates::pair(&files).unwrap());
            }
            let before = shown(&certificates);
            write(pair());
            let stop = CancellationToken::new();
            let watching = tokio::spawn(Arc::clone(&certificates).watch(files.clone(), every, stop.clone()));
            let changed = async {
                while shown(&certificates) == before {
                    tokio::time::sleep(every).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(5), changed).await.unwrap();
            stop.cancel();
            watching.await.unwrap();
        }
    }

    #[test]
    fn nothing_prints_the_key() {
        let (chain, key) = pair();
        let certificates = Certificates::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
        assert_eq!(format!("{certificates:?}"), "Certificates(…)");
    }
}
