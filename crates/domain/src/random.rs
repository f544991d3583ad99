//! Where random bytes come from.
//!
//! Everything that draws takes a [`Random`], so that a test can decide what is drawn.

use ring::rand::SecureRandom;

/// A source of random bytes fit for secrets.
pub trait Random: Send + Sync {
    /// Overwrites all of `out` with random bytes.
    ///
    /// # Errors
    /// [`NoEntropy`] if the source failed; `out` must not be used then.
    fn fill(&self, out: &mut [u8]) -> Result<(), NoEntropy>;
}

/// The operating system's generator.
#[derive(Debug)]
pub struct SystemRandom(ring::rand::SystemRandom);

impl SystemRandom {
    /// The operating system's generator.
    pub fn new() -> Self {
        Self(ring::rand::SystemRandom::new())
    }
}

impl Default for SystemRandom {
    fn default() -> Self {
        Self::new()
    }
}

impl Random for SystemRandom {
    fn fill(&self, out: &mut [u8]) -> Result<(), NoEntropy> {
        self.0.fill(out).map_err(|_| NoEntropy)
    }
}

/// The system's random source failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no usable random bytes")]
pub struct NoEntropy;

#[cfg(test)]
pub(crate) mod test_sources {
    //! Sources for tests whose output is known or broken.

    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::{NoEntropy, Random};

    /// Never has anything to give.
    pub(crate) struct Exhausted;

    impl Random for Exhausted {
        fn fill(&self, _: &mut [u8]) -> Result<(), NoEntropy> {
            Err(NoEntropy)
        }
    }

    /// Gives the listed draws in order, each filled up with zeros, then zeros for ever.
    pub(crate) struct Script {
        draws: Vec<Vec<u8>>,
        next: AtomicUsize,
    }

    impl Script {
        pub(crate) fn new(draws: Vec<Vec<u8>>) -> Self {
            Self {
                draws,
                next: AtomicUsize::new(0),
            }
        }
    }

    impl Random for Script {
        fn fill(&self, out: &mut [u8]) -> Result<(), NoEntropy> {
            out.fill(0);
            if let Some(draw) = self.draws.get(self.next.fetch_add(1, Ordering::Relaxed)) {
                out[..draw.len()].copy_from_slice(draw);
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_random_fills_the_whole_slice_and_never_twice_the_same() {
        let (mut one, mut two) = ([0; 64], [0; 64]);
        SystemRandom::new().fill(&mut one).unwrap();
        SystemRandom::new().fill(&mut two).unwrap();
        assert_ne!(one, two);
        assert!(
            one.chunks(8).all(|chunk| chunk != [0; 8]),
            "an eighth was left as it was"
        );
    }
}
