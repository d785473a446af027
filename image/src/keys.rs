//! The Secure Boot key pair and what is signed with it.

use std::path::{Path, PathBuf};

use crate::Error;
use crate::tool::{Tool, make_directory, write};

/// Files of a key pair, in the names that they have in every key directory.
#[derive(Debug, Clone)]
pub struct Keys {
    /// RSA private key, PEM.
    pub key: PathBuf,
    /// Self-signed certificate, PEM.
    pub certificate: PathBuf,
}

impl Keys {
    /// The pair in `directory`; a development pair is made there if there is none.
    ///
    /// A development key guards nothing: it shows that the chain holds. Release keys are put
    /// into a directory of their own and named with `--keys`.
    pub fn ensure(directory: &Path) -> Result<Self, Error> {
        let keys = Self {
            key: directory.join("secure-boot.key"),
            certificate: directory.join("secure-boot.crt"),
        };
        match (keys.key.exists(), keys.certificate.exists()) {
            (true, true) => Ok(keys),
            (false, false) => {
                make_directory(directory)?;
                keys.make(directory)?;
                Ok(keys)
            }
            _ => Err(Error::HalfAKeyPair {
                directory: directory.to_owned(),
            }),
        }
    }

    /// Signs a PE image. The signing time is given, as everything else in the output.
    pub(crate) fn sign(&self, unsigned: &Path, signed: &Path, time_s: u64) -> Result<(), Error> {
        let _ = std::fs::remove_file(signed);
        Tool::new("osslsigncode")
            .args(["sign", "-h", "sha256", "-st"])
            .arg(time_s.to_string())
            .arg("-certs")
            .arg(&self.certificate)
            .arg("-key")
            .arg(&self.key)
            .arg("-in")
            .arg(unsigned)
            .arg("-out")
            .arg(signed)
            .run()?;
        Ok(())
    }

    /// The certificate in the form that firmware stores.
    pub fn certificate_der(&self) -> Result<Vec<u8>, Error> {
        let folder = tempfile::tempdir().map_err(|source| Error::TemporaryFolder { source })?;
        let out = folder.path().join("certificate.der");
        Tool::new("openssl")
            .args(["x509", "-outform", "DER", "-in"])
            .arg(&self.certificate)
            .arg("-out")
            .arg(&out)
            .run()?;
        Ok(crate::tool::read(&out)?)
    }

    /// `openssl req -x509` of Debian 12 can only count days from now; `openssl ca` can be told
    /// both dates. A fixed start means that a machine whose clock is off can still use the key.
    fn make(&self, directory: &Path) -> Result<(), Error> {
        let folder =
            tempfile::tempdir_in(directory).map_err(|source| Error::TemporaryFolder { source })?;
        let file = |name: &str| folder.path().join(name);
        let configuration = format!(
            "[ca]\ndefault_ca = own\n[own]\nnew_certs_dir = {0}\ndatabase = {0}/index\n\
             serial = {0}/serial\ndefault_md = sha256\npolicy = any\nx509_extensions = code\n\
             [any]\ncommonName = supplied\n\
             [code]\nbasicConstraints = critical,CA:TRUE\nsubjectKeyIdentifier = hash\n\
             extendedKeyUsage = codeSigning\nkeyUsage = digitalSignature,keyCertSign\n",
            folder.path().display()
        );
        write(&file("ca.conf"), configuration)?;
        write(&file("index"), "")?;
        write(&file("serial"), "01\n")?;
        Tool::new("openssl")
            .args(["req", "-new", "-newkey", "rsa:2048", "-sha256", "-noenc"])
            .args(["-subj", "/CN=x0tta6bl4 development key"])
            .arg("-keyout")
            .arg(file("key"))
            .arg("-out")
            .arg(file("request"))
            .run()?;
        Tool::new("openssl")
            .args(["ca", "-selfsign", "-batch", "-notext"])
            .args([
                "-startdate",
                "20260101000000Z",
                "-enddate",
                "20491231235959Z",
            ])
            .arg("-config")
            .arg(file("ca.conf"))
            .arg("-keyfile")
            .arg(file("key"))
            .arg("-in")
            .arg(file("request"))
            .arg("-out")
            .arg(file("certificate"))
            .run()?;
        let place = |from: &str, to: &Path| {
            std::fs::rename(file(from), to).map_err(crate::tool::at("write", to))
        };
        place("key", &self.key)?;
        place("certificate", &self.certificate)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uki::STUB;

    #[test]
    fn a_signature_verifies_and_repeats_byte_for_byte() {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::ensure(folder.path()).unwrap();
        let again = Keys::ensure(folder.path()).unwrap();
        let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
        keys.sign(STUB.as_ref(), &first, 1_700_000_000).unwrap();
        again.sign(STUB.as_ref(), &second, 1_700_000_000).unwrap();
        assert_eq!(
            std::fs::read(&first).unwrap(),
            std::fs::read(&second).unwrap()
        );
        Tool::new("sbverify")
            .arg("--cert")
            .arg(&keys.certificate)
            .arg(&first)
            .run()
            .unwrap();
    }

    #[test]
    fn half_a_key_pair_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("secure-boot.key"), "mine").unwrap();
        let error = Keys::ensure(folder.path()).unwrap_err();
        assert!(matches!(error, Error::HalfAKeyPair { .. }), "{error}");
        let kept = std::fs::read(folder.path().join("secure-boot.key")).unwrap();
        assert_eq!(kept, b"mine");
    }
}
