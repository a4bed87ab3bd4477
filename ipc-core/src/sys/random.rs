//! Random bytes, straight from the kernel.
//!
//! A generator of the process would be shared by every copy that a fork server makes of itself; see
//! [getrandom(2)](https://man7.org/linux/man-pages/man2/getrandom.2.html).

use rustix::io::{Errno, Result};
use rustix::rand::{GetRandomFlags, getrandom};

/// So many random bytes.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        match getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}
