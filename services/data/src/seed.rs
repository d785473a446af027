//! Carries randomness over a power-off, so that a machine without a hardware source does not have
//! to wait for some at its next boot.
//!
//! A seed is worth something once. So it is mixed in at once, but credited as entropy only after
//! the next one has taken its place on the disk: whatever moment the power fails at, no seed is
//! ever credited twice.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;

use rustix::rand::GetRandomFlags;

use crate::file;

/// What the kernel's generator takes at most (256 bits).
pub const SEED_BYTES: usize = 32;
const DEVICE: &str = "/dev/urandom";

/// A seed of an earlier boot, which is not credited yet.
#[expect(missing_debug_implementations, reason = "it is a secret")]
pub struct Seed([u8; SEED_BYTES]);

/// Reads the seed of the last boot and mixes it into the kernel's pool, uncredited.
///
/// # Errors
/// When there is none (`NotFound`), it has the wrong length, or the pool does not take it.
pub fn mix_in(path: &Path) -> io::Result<Seed> {
    let bytes = file::read(path, SEED_BYTES as u64)?;
    let seed = Seed(
        bytes
            .try_into()
            .map_err(|_| io::Error::other("it has the wrong length"))?,
    );
    device()?.write_all(&seed.0)?;
    Ok(seed)
}

/// Stores a seed for the next boot; then the old one, used up by now, is credited.
///
/// # Errors
/// When the new seed cannot be stored: the old one then stays uncredited.
pub fn renew(path: &Path, old: Option<Seed>) -> io::Result<()> {
    let mut next = [0; SEED_BYTES];
    match rustix::rand::getrandom(&mut next, GetRandomFlags::NONBLOCK) {
        Ok(SEED_BYTES) => {}
        // The pool is not ready yet, but holds the old seed. That one's worth passes over to the
        // next seed, since getrandom works like a one-way function.
        _ if old.is_some() => fill(&mut next, GetRandomFlags::INSECURE)?,
        // The first boot: a seed must be worth its credit, so this waits for the kernel (a second
        // at most, since it gathers jitter by itself).
        _ => random(&mut next)?,
    }
    file::replace(path, &next, 0o600)?;
    match old {
        Some(seed) => credit(&seed),
        None => Ok(()),
    }
}

/// Random bytes, as soon as the kernel has good ones.
///
/// # Errors
/// Never on a kernel that has getrandom(2).
pub fn random(bytes: &mut [u8]) -> io::Result<()> {
    fill(bytes, GetRandomFlags::empty())
}

fn fill(bytes: &mut [u8], flags: GetRandomFlags) -> io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        match rustix::rand::getrandom(&mut bytes[filled..], flags) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn credit(seed: &Seed) -> io::Result<()> {
    crate::ioctl::add_entropy(device()?.as_fd(), &seed.0)?;
    Ok(())
}

fn device() -> io::Result<File> {
    OpenOptions::new().write(true).open(DEVICE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_boot_leaves_another_seed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("random-seed");
        assert!(matches!(mix_in(&path), Err(error) if error.kind() == io::ErrorKind::NotFound));
        renew(&path, None).unwrap();
        let first = std::fs::read(&path).unwrap();
        assert_eq!(first.len(), SEED_BYTES);
        // Mixing in needs no privilege, and keeps the file: it is credited only when replaced.
        let seed = mix_in(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), first);
        // Crediting needs CAP_SYS_ADMIN, which a test may lack; the file is replaced before.
        renew(&path, Some(seed)).ok();
        assert_ne!(std::fs::read(&path).unwrap(), first);
    }

    #[test]
    fn a_seed_of_the_wrong_length_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("random-seed");
        std::fs::write(&path, [7; 31]).unwrap();
        assert!(mix_in(&path).is_err());
    }
}
