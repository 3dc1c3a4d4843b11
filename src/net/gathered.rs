//! Small writes in one piece.
//!
//! hyper writes a head and a small body as two slices in one call. The kernel takes one slice for less than two: to copy
//! a few hundred bytes next to each other first is cheaper.

use std::io::IoSlice;

/// What is copied at most, in bytes.
const SMALL: usize = 2048;
/// What most heads and small bodies need together: less to clear.
const USUAL: usize = 768;

/// Calls `write` with all slices in one, where they are small together; `None` where they are not.
pub(crate) fn in_one<T>(slices: &[IoSlice<'_>], write: impl FnOnce(&[u8]) -> T) -> Option<T> {
    let length = slices.iter().map(|slice| slice.len()).sum::<usize>();
    if length <= USUAL {
        within(&mut [0; USUAL], slices, write)
    } else {
        within(&mut [0; SMALL], slices, write)
    }
}

fn within<T>(space: &mut [u8], slices: &[IoSlice<'_>], write: impl FnOnce(&[u8]) -> T) -> Option<T> {
    let mut length = 0;
    for slice in slices {
        let end = length + slice.len();
        space.get_mut(length..end)?.copy_from_slice(slice);
        length = end;
    }
    space.get(..length).map(write)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_slices_are_one_and_large_ones_are_not() {
        let of = |lengths: &[usize]| {
            let bytes: Vec<Vec<u8>> =
                lengths.iter().zip(1..).map(|(length, byte)| vec![byte; *length]).collect();
            let slices: Vec<_> = bytes.iter().map(|bytes| IoSlice::new(bytes)).collect();
            in_one(&slices, <[u8]>::to_vec).inspect(|one| assert_eq!(*one, bytes.concat()))
        };
        assert_eq!(of(&[2, 1]), Some(vec![1, 1, 2]));
        assert_eq!(of(&[SMALL - 1, 0, 1]).map(|one| one.len()), Some(SMALL));
        assert_eq!(of(&[SMALL - 1, 2]), None);
        assert_eq!(of(&[SMALL + 1]), None);
        assert_eq!(of(&[]), Some(vec![]));
    }
}
