//! The certificate that `public_url` shows, and the files of `[tls]`.
//!
//! Whether a certificate is good is the TLS library's to say, with this system's trust; until when, `net::certificate`'s.

use std::{fs, os::unix::fs::PermissionsExt as _};

use rustls::CertificateError;

use super::finding::{self, Check, Finding, Problem};
use crate::{config::Settings, domain::time::Timestamp, gateway::Bound, net::certificate::not_after};

const DAY: u64 = 24 * 60 * 60;

/// Why it was refused.
pub(super) fn refused(url: &str, why: &CertificateError) -> Finding {
    let problem: &Problem = match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => &finding::CERTIFICATE_EXPIRED,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            &finding::CERTIFICATE_NOT_YET_VALID
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            &finding::CERTIFICATE_WRONG_NAME
        }
        _ => &finding::CERTIFICATE_UNTRUSTED,
    };
    Finding::of(problem, url)
}

/// How long one that was accepted stays good.
pub(super) fn shown(url: &str, leaf: &[u8], now: Timestamp) -> Finding {
    let Some(end) = not_after(leaf) else {
        return Finding::skipped(Check::Certificate, url, "it is accepted; until when could not be read");
    };
    let days = end.saturating_sub(now.as_secs()) / DAY;
    let left = format!("it is good for {days} more day{}", if days == 1 { "" } else { "s" });
    match days {
        0..2 => Finding::of(&finding::CERTIFICATE_EXPIRES_NOW, url).because(left),
        2..14 => Finding::of(&finding::CERTIFICATE_EXPIRES_SOON, url).because(left),
        _ => Finding::ok(Check::Certificate, url, format!("trusted, for this name; {left}")),
    }
}

/// What of `[tls]` lies on the disk.
pub(super) fn files(settings: &Settings) -> Vec<Finding> {
    let Some(files) = &settings.tls else { return Vec::new() };
    let mut found = Vec::new();
    if Bound::certificate(settings).is_err() {
        found.push(Finding::of(&finding::TLS_FILES_UNUSABLE, files.certificate.display().to_string()));
    }
    if fs::metadata(&files.key).is_ok_and(|metadata| metadata.permissions().mode() & 0o007 != 0) {
        found.push(Finding::of(&finding::TLS_KEY_OPEN, files.key.display().to_string()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn valid_until(year: i32) -> Vec<u8> {
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 3, 4);
        let key = rcgen::KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn it_is_said_before_it_is_too_late() {
        let leaf = valid_until(2031);
        let before = |days: u64| Timestamp::from_millis((1_930_348_800 - days * DAY - 60) * 1000);
        let slug = |days| shown("https://x.example", &leaf, before(days)).slug;
        assert_eq!(slug(0), Some("certificate_expires_now"));
        assert_eq!(slug(1), Some("certificate_expires_now"));
        assert_eq!(slug(2), Some("certificate_expires_soon"));
        assert_eq!(slug(13), Some("certificate_expires_soon"));
        assert_eq!(slug(14), None);
    }
}
