//! The chunked coding of HTTP/1.1 (RFC 9112 section 7.1), piece by piece as it comes.
//!
//! As strict as hyper (`agrees` compares them): what is not exactly the grammar is refused, and with it the rest of the
//! connection, so that nobody ever disagrees with us about where a body ends. Extensions and trailers are read over, not
//! looked into, and do not pass.
//!
//! Keeps nothing but where it stands: a stream that is idle needs no buffer.

/// How long all extensions and trailers of a body may be together, in bytes.
const ASIDE: u32 = 16 * 1024;
/// How long a size may be, in bytes: zeros in front of it and white space behind it have no other
/// end, and each chunk of a long stream may have them.
const SIZE: u8 = 64;

/// Where in a chunked body we are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Chunks {
    next: Next,
    /// The size of the chunk, as far as it is read, and then what is left of it.
    left: u64,
    /// What extensions and trailers may still need.
    aside: u32,
    /// What the size that is being read may still need.
    size: u8,
    has_trailers: bool,
}

/// What comes next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Next {
    /// The first digit of a size.
    Size,
    /// Another digit, or what ends them.
    Digits,
    /// White space behind a size ("bad" white space, in the words of the RFC).
    Space,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// A trailer or the end.
    Trailers,
    Trailer,
    TrailerLf,
    EndLf,
    Nothing,
}

/// This is not the chunked coding.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Malformed;

impl Chunks {
    /// Before the first chunk.
    pub(super) const fn new() -> Self {
        Self { next: Next::Size, left: 0, aside: ASIDE, size: SIZE, has_trailers: false }
    }

    /// Whether the body has ended.
    pub(super) fn is_done(&self) -> bool {
        self.next == Next::Nothing
    }

    /// Whether something stands behind the data that is not the end.
    pub(super) fn has_trailers(&self) -> bool {
        self.has_trailers
    }

    /// Whether all data has come, and its end has not.
    #[cfg(test)]
    pub(super) fn is_in_trailers(&self) -> bool {
        matches!(self.next, Next::Trailers | Next::Trailer | Next::TrailerLf | Next::EndLf)
    }

    /// Takes the next piece of data from what `came`, as much of it as is there; empty where no more data is there. What came
    /// behind the end of the body stays.
    pub(super) fn piece<'a>(&mut self, came: &mut &'a [u8]) -> Result<&'a [u8], Malformed> {
        while !self.is_done() {
            if self.next == Next::Data {
                let here = usize::try_from(self.left).unwrap_or(usize::MAX).min(came.len());
                let (piece, rest) = came.split_at_checked(here).ok_or(Malformed)?;
                *came = rest;
                self.left -= here as u64;
                if self.left == 0 {
                    self.next = Next::DataCr;
                }
                return Ok(piece);
            }
            let Some((byte, rest)) = came.split_first() else { break };
            self.next = self.after(*byte).ok_or(Malformed)?;
            *came = rest;
        }
        Ok(&[])
    }

    /// Takes what came, and puts what is data behind `data`. Returns what came behind the end of the body.
    pub(super) fn take<'a>(&mut self, mut came: &'a [u8], data: &mut Vec<u8>) -> Result<&'a [u8], Malformed> {
        loop {
            match self.piece(&mut came)? {
                [] => return Ok(came),
                piece => data.extend_from_slice(piece),
            }
        }
    }

    /// What comes after this byte, which is none of the data. `None`: it must not stand there.
    fn after(&mut self, byte: u8) -> Option<Next> {
        match (self.next, byte) {
            (Next::Size | Next::Digits, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = char::from(byte).to_digit(16)?;
                self.left = self.left.checked_mul(16)?.checked_add(digit.into())?;
                self.of_size(Next::Digits)
            }
            (Next::Digits | Next::Space, b' ' | b'\t') => self.of_size(Next::Space),
            (Next::Digits | Next::Space | Next::Extension, b'\r') => Some(Next::SizeLf),
            (Next::SizeLf, b'\n') if self.left == 0 => Some(Next::Trailers),
            (Next::SizeLf, b'\n') => Some(Next::Data),
            (Next::DataCr, b'\r') => Some(Next::DataLf),
            (Next::DataLf, b'\n') => Some(Next::Size),
            (Next::Trailers, b'\r') => Some(Next::EndLf),
            (Next::Trailer, b'\r') => Some(Next::TrailerLf),
            (Next::TrailerLf, b'\n') => Some(Next::Trailers),
            (Next::EndLf, b'\n') => Some(Next::Nothing),
            (Next::Extension | Next::Trailers | Next::Trailer, b'\n') => None,
            (Next::Digits | Next::Space, b';') | (Next::Extension, _) => self.aside(Next::Extension),
            (Next::Trailers | Next::Trailer, _) => {
                self.has_trailers = true;
                self.aside(Next::Trailer)
            }
            _ => None,
        }
    }

    fn of_size(&mut self, next: Next) -> Option<Next> {
        let of = if self.next == Next::Size { SIZE } else { self.size };
        self.size = of.checked_sub(1)?;
        Some(next)
    }

    fn aside(&mut self, next: Next) -> Option<Next> {
        self.aside = self.aside.checked_sub(1)?;
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The data, and what came behind the body.
    fn taken(pieces: &[&[u8]]) -> Result<(Vec<u8>, Vec<u8>, bool), Malformed> {
        let (mut chunks, mut data, mut behind) = (Chunks::new(), Vec::new(), Vec::new());
        for piece in pieces {
            behind.extend_from_slice(chunks.take(piece, &mut data)?);
        }
        Ok((data, behind, chunks.is_done()))
    }

    #[test]
    fn a_body_is_the_same_however_it_is_cut() {
        let whole = b"4\r\nwiki\r\n0A \t;name=\"v;\";b\r\n0\r\n\r\n\n\r0\r\n\r\n1\r\n!\r\n00\r\nX: y\r\nZ:\r\n\r\nHTTP/1.1 200 OK";
        let expected = Ok((b"wiki0\r\n\r\n\n\r0\r\n!".to_vec(), b"HTTP/1.1 200 OK".to_vec(), true));
        assert_eq!(taken(&[whole]), expected);
        for one in 0..whole.len() {
            let (first, rest) = whole.split_at(one);
            assert_eq!(taken(&[first, rest]), expected, "cut at {one}");
            for other in 0..rest.len() {
                let (second, third) = rest.split_at(other);
                assert_eq!(taken(&[first, second, third]), expected, "cut at {one} and {other} behind it");
            }
        }
        let bytes: Vec<&[u8]> = whole.chunks(1).collect();
        assert_eq!(taken(&bytes), expected);
    }

    #[test]
    fn what_has_not_ended_is_not_done() {
        let whole = b"2\r\nab\r\n0\r\nT: v\r\n\r\n";
        for length in 0..whole.len() {
            let (data, behind, is_done) = taken(&[&whole[..length]]).unwrap();
            assert!(behind.is_empty() && !is_done, "after {length}");
            assert!(b"ab".starts_with(&data[..]));
        }
    }

    #[test]
    fn attack_a_size_without_end_and_many_that_are_padded() {
        let mut chunks = Chunks::new();
        let zeros = [b'0'; 4096];
        assert!((0..16).any(|_| chunks.take(&zeros, &mut Vec::new()).is_err()), "zeros for ever");
        // Some servers pad each size, and streams are long.
        let (mut chunks, mut data) = (Chunks::new(), Vec::new());
        for _ in 0..2 * ASIDE {
            chunks.take(b"0000001   \r\na\r\n", &mut data).unwrap();
        }
        assert_eq!(data.len(), 2 * ASIDE as usize);
    }

    #[test]
    fn what_is_not_the_grammar_is_refused() {
        let long = format!("1;{}\r\n", "x".repeat(ASIDE as usize));
        let trailers = format!("0\r\n{}", "a: b\r\n".repeat(ASIDE as usize));
        let (zeros, spaces) =
            (format!("{}1\r\na\r\n", "0".repeat(300)), format!("1{}\r\na\r\n", " ".repeat(300)));
        for malformed in [
            &b"\r\n"[..],
            b" 1\r\na\r\n",
            b"+1\r\na\r\n",
            b"-1\r\na\r\n",
            b"0x1\r\na\r\n",
            b"g\r\n",
            b";a\r\n",
            b"1\na\n",
            b"1\r\ra",
            b"1 2\r\n",
            b"1;a\nb\r\n",
            b"1\r\nab\r\n",
            b"1\r\na\n",
            b"1\r\na\r\r",
            b"1\r\na0\r\n\r\n",
            b"0\r\n\n",
            b"0\r\na\n\r\n",
            b"0\r\na\r\r\n",
            b"0\r\n\r\r",
            b"10000000000000000\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n",
            long.as_bytes(),
            trailers.as_bytes(),
            zeros.as_bytes(),
            spaces.as_bytes(),
        ] {
            assert_eq!(taken(&[malformed]), Err(Malformed), "{}", malformed.escape_ascii());
        }
    }
}
