//! Password hashes as people bring them: parsed with bounds, verified in constant time.
//!
//! Responsible for: Argon2id in the PHC string format (`argon2(1)`) and SHA-512 crypt (`$6$`,
//! `mkpasswd(1)`, `openssl passwd -6`), and a bound on what a verification costs: the hash comes
//! from a configuration document, and one that asks for a terabyte of memory must be refused when
//! it is read, not when somebody logs in.
//! Not responsible for: making hashes, asking for passwords, limiting attempts.
//! Talks to: nobody.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

use std::fmt;

use argon2::password_hash::phc;
use argon2::{Algorithm, Argon2, Params, PasswordVerifier as _, Version};
use sha_crypt::{PasswordHashRef, ShaCrypt};

/// A hash longer than this is refused unread. Real ones have some hundred bytes.
pub const HASH_MAX_BYTES: usize = 512;
/// A longer password is refused: SHA-512 crypt takes time by its square.
pub const PASSWORD_MAX_BYTES: usize = 256;
/// What Argon2id may ask for: 64 MiB, as RFC 9106 recommends for machines with little memory.
pub const ARGON2_MEMORY_MAX_KIB: u32 = 64 * 1024;
/// Passes over that memory.
pub const ARGON2_PASSES_MAX: u32 = 16;
/// Lanes of that memory.
pub const ARGON2_LANES_MAX: u32 = 16;
/// Rounds of SHA-512 crypt: about a second.
pub const SHA512_ROUNDS_MAX: u32 = 1_000_000;

/// A hash that can be verified against.
#[derive(Clone, PartialEq, Eq)]
pub struct Hash(Kind);

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    Argon2id(Box<phc::PasswordHash>),
    Sha512Crypt(String),
}

/// Why a text is no password hash that this machine would verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// Far longer than any hash.
    #[error("a password hash has at most {HASH_MAX_BYTES} characters")]
    TooLong,
    /// Neither `$argon2id$` nor `$6$`.
    #[error(
        "not a password hash that is supported; make one with `argon2 … -id -e` ($argon2id$…) or \
         `openssl passwd -6` ($6$…)"
    )]
    Unsupported,
    /// Begins well, and then breaks the format.
    #[error("a damaged password hash: was it copied as a whole?")]
    Damaged,
    /// Argon2id parameters beyond the bounds.
    #[error(
        "this Argon2id hash costs too much for this machine; at most m={ARGON2_MEMORY_MAX_KIB}, \
         t={ARGON2_PASSES_MAX}, p={ARGON2_LANES_MAX} are allowed"
    )]
    Argon2Cost,
    /// SHA-512 crypt rounds beyond the bound.
    #[error(
        "this SHA-512 hash costs too much for this machine; between 1000 and {SHA512_ROUNDS_MAX} \
         rounds are allowed"
    )]
    Sha512Cost,
}

impl Hash {
    /// Reads a hash.
    ///
    /// # Errors
    /// When it is none, or one whose verification would cost too much.
    pub fn parse(text: &str) -> Result<Self, HashError> {
        if text.len() > HASH_MAX_BYTES {
            return Err(HashError::TooLong);
        }
        if text.starts_with("$argon2id$") {
            return argon2id(text).map(|hash| Self(Kind::Argon2id(Box::new(hash))));
        }
        if text.starts_with("$6$") {
            sha512_crypt(text)?;
            return Ok(Self(Kind::Sha512Crypt(text.to_owned())));
        }
        Err(HashError::Unsupported)
    }

    /// Whether `password` is the one that was hashed. Takes up to about a second and 64 MiB.
    #[must_use]
    pub fn verify(&self, password: &[u8]) -> bool {
        if password.len() > PASSWORD_MAX_BYTES {
            return false;
        }
        match &self.0 {
            Kind::Argon2id(hash) => {
                Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::default())
                    .verify_password(password, hash.as_ref())
                    .is_ok()
            }
            Kind::Sha512Crypt(text) => PasswordHashRef::new(text)
                .is_ok_and(|hash| ShaCrypt::SHA512.verify_password(password, hash).is_ok()),
        }
    }
}

/// Hashes don't belong into logs.
impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Argon2id(_) => "Hash($argon2id$…)",
            Kind::Sha512Crypt(_) => "Hash($6$…)",
        })
    }
}

fn argon2id(text: &str) -> Result<phc::PasswordHash, HashError> {
    let hash = phc::PasswordHash::new(text).map_err(|_| HashError::Damaged)?;
    let (Some(salt), Some(output)) = (&hash.salt, &hash.hash) else {
        return Err(HashError::Damaged);
    };
    // RFC 9106, section 3.1: salts and tags shorter than this are weak, and so damaged here.
    if salt.as_ref().len() < 8 || output.as_bytes().len() < 16 {
        return Err(HashError::Damaged);
    }
    if hash.version.is_some_and(|version| version != 0x13) {
        return Err(HashError::Unsupported);
    }
    let params = Params::try_from(&hash).map_err(|_| HashError::Damaged)?;
    if params.m_cost() > ARGON2_MEMORY_MAX_KIB
        || params.t_cost() > ARGON2_PASSES_MAX
        || params.p_cost() > ARGON2_LANES_MAX
    {
        return Err(HashError::Argon2Cost);
    }
    Ok(hash)
}

/// `$6$[rounds=N$]salt$hash`: 16 characters of salt at most, 86 of hash (crypt(5)).
fn sha512_crypt(text: &str) -> Result<(), HashError> {
    let mut fields = text.split('$').skip(2);
    let mut next = || fields.next().ok_or(HashError::Damaged);
    let mut salt = next()?;
    if let Some(rounds) = salt.strip_prefix("rounds=") {
        let digits = !rounds.is_empty() && rounds.bytes().all(|b| b.is_ascii_digit());
        let rounds = rounds.parse().ok().filter(|_| digits);
        match rounds.ok_or(HashError::Sha512Cost)? {
            1_000..=SHA512_ROUNDS_MAX => {}
            _ => return Err(HashError::Sha512Cost),
        }
        salt = next()?;
    }
    let hash = next()?;
    let in_alphabet = |text: &str| {
        text.bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'/'))
    };
    let whole = (1..=16).contains(&salt.len()) && hash.len() == 86 && fields.next().is_none();
    // The whole text has to be what the verification will make of it.
    if whole && in_alphabet(salt) && in_alphabet(hash) && PasswordHashRef::new(text).is_ok() {
        Ok(())
    } else {
        Err(HashError::Damaged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `openssl passwd -6 -salt saltstring 'Hello world!'`, and with `rounds=10000$saltstringsaltst`.
    const SHA512: &str = "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1";
    const SHA512_ROUNDS: &str = "$6$rounds=10000$saltstringsaltst$OW1/O6BYHV6BcXZu8QVeXbDWra3Oeqh0sbHbbMCVNSnCM/UrjmM0Dp8vOuZeHBy/YTBmSK6H9qs/y3RnOaw5v.";
    /// `printf %s password | argon2 somesalt -id -t 2 -k 256 -p 1 -e`.
    const ARGON2: &str =
        "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

    #[test]
    fn verifies_both_kinds() {
        for (text, password) in [
            (SHA512, "Hello world!"),
            (SHA512_ROUNDS, "Hello world!"),
            (ARGON2, "password"),
        ] {
            let hash = Hash::parse(text).unwrap();
            assert!(hash.verify(password.as_bytes()), "{text}");
            for wrong in ["", "hello world!", "Hello world", "passwordx"] {
                assert!(!hash.verify(wrong.as_bytes()), "{text} {wrong}");
            }
            assert!(!hash.verify(&[b'x'; PASSWORD_MAX_BYTES + 1]));
        }
    }

    #[test]
    fn refuses_what_would_cost_too_much() {
        let argon2 = |parameters: &str| Hash::parse(&ARGON2.replace("m=256,t=2,p=1", parameters));
        assert_eq!(argon2("m=65537,t=2,p=1"), Err(HashError::Argon2Cost));
        assert_eq!(argon2("m=4294967295,t=2,p=1"), Err(HashError::Argon2Cost));
        assert_eq!(argon2("m=256,t=17,p=1"), Err(HashError::Argon2Cost));
        assert_eq!(argon2("m=256,t=2,p=17"), Err(HashError::Argon2Cost));
        assert!(argon2("m=65536,t=3,p=4").is_ok());
        let sha = |rounds: &str| Hash::parse(&SHA512_ROUNDS.replace("10000", rounds));
        for rounds in ["999999999", "1000001", "999", "", "+5000", "99999999999"] {
            assert_eq!(sha(rounds), Err(HashError::Sha512Cost), "{rounds}");
        }
        assert!(sha("1000000").is_ok());
    }

    #[test]
    fn refuses_what_is_damaged_or_weak() {
        for text in [
            "",
            "secret",
            "$1$salt$hash",
            "$y$j9T$x$y",
            "$argon2i$v=19$m=256,t=2,p=1$a$b",
        ] {
            assert_eq!(Hash::parse(text), Err(HashError::Unsupported), "{text}");
        }
        for cut in 10..ARGON2.len() - 30 {
            assert!(Hash::parse(&ARGON2[..cut]).is_err(), "{}", &ARGON2[..cut]);
        }
        for cut in 3..SHA512.len() {
            assert_eq!(Hash::parse(&SHA512[..cut]), Err(HashError::Damaged));
        }
        assert_eq!(Hash::parse(&format!("{SHA512}$")), Err(HashError::Damaged));
        assert_eq!(Hash::parse(&"$6$".repeat(999)), Err(HashError::TooLong));
    }

    #[test]
    fn does_not_show_itself() {
        let hash = Hash::parse(SHA512).unwrap();
        assert_eq!(format!("{hash:?}"), "Hash($6$…)");
    }

    proptest! {
        #[test]
        fn any_text_is_harmless(text in "(\\$6\\$|\\$argon2id\\$v=19\\$m=8,t=1,p=1\\$)?[ -~é]{0,120}") {
            if let Ok(hash) = Hash::parse(&text) {
                let _ = hash.verify(b"x");
            }
        }
    }
}
