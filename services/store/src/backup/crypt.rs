//! age files with a passphrase (<https://age-encryption.org/v1>).

use std::io::{self, Read, Write};

use age::secrecy::SecretString;
use age::{DecryptError, Decryptor, Encryptor, scrypt};

/// 2^16 takes 64 MiB and a fraction of a second on the weakest router: what a file costs to try a
/// passphrase on.
const WORK_FACTOR: u8 = 16;
/// A file that asks for more is refused, not computed: `age -p` uses 2^18, which takes 256 MiB.
const MAX_WORK_FACTOR: u8 = 17;

/// Why a file cannot be encrypted or decrypted.
#[derive(Debug, thiserror::Error)]
pub enum CryptError {
    /// Reading or writing failed.
    #[error("reading or writing failed")]
    File(#[from] io::Error),
    /// Not an age file.
    #[error("it is no age file, or damaged: {0}")]
    Format(String),
    /// Encrypted for keys.
    #[error("it is encrypted with a key, not with a passphrase")]
    NoPassphrase,
    /// It would take too long to try.
    #[error("it asks for 2^{0} steps, at most 2^{MAX_WORK_FACTOR} are done: encrypt it anew")]
    Work(u8),
    /// The passphrase does not fit.
    #[error("wrong passphrase")]
    Passphrase,
}

/// Encrypts what `write` writes.
///
/// # Errors
/// When `write` fails, or the file.
pub fn encrypt<W: Write, E: From<CryptError>>(
    file: W,
    passphrase: String,
    write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<W, E> {
    encrypt_with(WORK_FACTOR, file, passphrase, write)
}

/// Encrypts so that a passphrase is quick to try: for fuzzing.
pub(crate) fn encrypt_quickly<W: Write, E: From<CryptError>>(
    file: W,
    passphrase: String,
    write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<W, E> {
    encrypt_with(1, file, passphrase, write)
}

fn encrypt_with<W: Write, E: From<CryptError>>(
    work_factor: u8,
    file: W,
    passphrase: String,
    write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<W, E> {
    let mut recipient = scrypt::Recipient::new(SecretString::from(passphrase));
    recipient.set_work_factor(work_factor);
    let recipients = std::iter::once(&recipient as &dyn age::Recipient);
    let encryptor = Encryptor::with_recipients(recipients)
        .map_err(|error| CryptError::Format(error.to_string()))?;
    let mut stream = encryptor.wrap_output(file).map_err(CryptError::File)?;
    write(&mut stream)?;
    Ok(stream.finish().map_err(CryptError::File)?)
}

/// Decrypts `file` into `plain`, of which nothing must be used before this returns well.
///
/// # Errors
/// When it is not what it should be, or the passphrase is wrong.
pub fn decrypt(
    file: impl Read,
    passphrase: String,
    plain: &mut impl Write,
    limit: u64,
) -> Result<(), CryptError> {
    let decryptor = Decryptor::new(file).map_err(decryption)?;
    if !decryptor.is_scrypt() {
        return Err(CryptError::NoPassphrase);
    }
    let mut identity = scrypt::Identity::new(SecretString::from(passphrase));
    identity.set_max_work_factor(MAX_WORK_FACTOR);
    let identities = std::iter::once(&identity as &dyn age::Identity);
    let stream = decryptor.decrypt(identities).map_err(decryption)?;
    let mut bounded = stream.take(limit);
    match io::copy(&mut bounded, plain) {
        Ok(bytes) if bytes >= limit => Err(CryptError::Format("it is too large".into())),
        Ok(_) => Ok(()),
        // age reports what it cannot authenticate as one of these.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::Other
            ) =>
        {
            Err(CryptError::Format(error.to_string()))
        }
        Err(error) => Err(CryptError::File(error)),
    }
}

fn decryption(error: DecryptError) -> CryptError {
    match error {
        DecryptError::ExcessiveWork { required, .. } => CryptError::Work(required),
        DecryptError::NoMatchingKeys
        | DecryptError::KeyDecryptionFailed
        | DecryptError::DecryptionFailed => CryptError::Passphrase,
        DecryptError::Io(error)
            if !matches!(
                error.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
            ) =>
        {
            CryptError::File(error)
        }
        other => CryptError::Format(other.to_string()),
    }
}
