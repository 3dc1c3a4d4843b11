//! Until when a certificate is good: the few bytes of DER in front of it say so (RFC 5280 section 4.1).
//!
//! Whether it is good at all is the TLS library's to say, which reads all of it and does not tell this. Never panics, whatever
//! the bytes are.

/// The end of the validity of a certificate in DER, in seconds since 1970. `None`: it is none.
pub fn not_after(certificate: &[u8]) -> Option<u64> {
    let (_, certificate, _) = element(certificate)?;
    let (_, tbs, _) = element(certificate)?;
    let mut rest = tbs;
    // The version is there or not; serial number, algorithm and issuer follow it.
    if rest.first() == Some(&0xa0) {
        rest = element(rest)?.2;
    }
    for _ in 0..3 {
        rest = element(rest)?.2;
    }
    let (_, validity, _) = element(rest)?;
    let (_, _, after) = element(validity)?;
    let (tag, time, _) = element(after)?;
    let text = std::str::from_utf8(time).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match (tag, text.len()) {
        // UTCTime: two digits, of which the larger ones are of the last century.
        (0x17, 12) => {
            let year: u64 = text.get(..2)?.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, text.get(2..)?)
        }
        (0x18, 14) => (text.get(..4)?.parse().ok()?, text.get(4..)?),
        _ => return None,
    };
    let part = |at: usize| rest.get(at..at + 2)?.parse::<u64>().ok();
    let written =
        format!("{year:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", part(0)?, part(2)?, part(4)?, part(6)?, part(8)?);
    let time = humantime::parse_rfc3339(&written).ok()?;
    Some(time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs())
}

/// Tag, content, and what follows.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if bytes.is_empty() || bytes.len() > 4 {
            return None;
        }
        (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
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
    fn the_end_of_a_certificate_is_read() {
        // Both ways in which a time is written.
        for (year, seconds) in [(2031, 1_930_348_800), (2077, 3_382_041_600)] {
            assert_eq!(not_after(&valid_until(year)), Some(seconds), "{year}");
        }
        let whole = valid_until(2031);
        for length in 0..whole.len() {
            let _ = not_after(&whole[..length]);
        }
        assert_eq!(not_after(b"\x30\x84\xff\xff\xff\xff"), None);
    }
}
