//! Whether the results in a folder are those of the same inputs, so that nothing need be done.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::parts::Parts;
use crate::root::hex;
use crate::tool::{FileError, at, sha256, write};
use crate::{Error, Request};

const FILE: &str = ".inputs";
/// Results that others might have written to since; the stamp remembers how they were left.
const WATCHED: [&str; 4] = ["x0.img", "uki-a.efi", "root.erofs", "selector.efi"];

/// A digest of everything that decides what a build makes.
#[derive(Debug)]
pub(crate) struct Stamp(String);

impl Stamp {
    pub(crate) fn of(parts: &Parts, request: &Request) -> Result<Self, Error> {
        // This program: what it does to the parts is an input as well.
        let own = std::env::current_exe().map_err(at("find", Path::new("/proc/self/exe")))?;
        let keys = &parts.keys;
        let mut files = vec![
            own,
            parts.kernel.image.clone(),
            parts.selector.clone(),
            parts.stub.clone(),
            keys.certificate.clone(),
            keys.key.clone(),
            parts.workspace.join("Cargo.lock"),
            // Stands for the versions of all packages: asking for each takes long.
            "/var/lib/dpkg/status".into(),
        ];
        files.extend(parts.programs.values().cloned());
        files.extend(parts.debian.files.values().cloned());
        let mut hash = Sha256::new();
        hash.update(format!("{:?} {:?}", request.profile, parts.source));
        hash.update(parts.services.to_json());
        hash.update(&parts.kernel.release);
        for (file, digest) in files.iter().zip(sha256(&files)?) {
            hash.update(format!("{} {digest}\n", file.display()));
        }
        Ok(Self(hex(&hash.finalize())))
    }

    pub(crate) fn is_current(&self, out: &Path) -> bool {
        let expected = fs::read_to_string(out.join(FILE)).ok();
        expected.is_some() && expected == self.content(out).ok()
    }

    pub(crate) fn forget(out: &Path) {
        let _ = fs::remove_file(out.join(FILE));
    }

    pub(crate) fn record(&self, out: &Path) -> Result<(), Error> {
        Ok(write(&out.join(FILE), self.content(out)?)?)
    }

    fn content(&self, out: &Path) -> Result<String, FileError> {
        let mut content = format!("{}\n", self.0);
        for name in WATCHED {
            let path = out.join(name);
            let metadata = fs::metadata(&path).map_err(at("look at", &path))?;
            let (size, s, ns) = (metadata.len(), metadata.mtime(), metadata.mtime_nsec());
            content.push_str(&format!("{name} {size} {s}.{ns}\n"));
        }
        Ok(content)
    }
}
