use std::path::PathBuf;

use crate::firmware::VariableStoreError;
use crate::pe::PeError;
use crate::tool::{FileError, ToolError};

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A tool that could not do its part.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// No place for short-lived files.
    #[error("cannot make a temporary folder")]
    TemporaryFolder {
        /// Why the kernel refused.
        #[source]
        source: std::io::Error,
    },
    /// The partition sizes are fixed for the life of every appliance in the field.
    #[error("{bytes} bytes do not fit into {partition}, which has {limit}")]
    TooLarge {
        /// GPT name.
        partition: &'static str,
        /// What was to go in.
        bytes: u64,
        /// What goes in.
        limit: u64,
    },
    /// The stub is not what we take it for.
    #[error("cannot add the kernel to {}", path.display())]
    Stub {
        /// The stub.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: PeError,
    },
    /// Firmware variables that cannot take a key.
    #[error("cannot enrol a key in {}", path.display())]
    Firmware {
        /// The variable store.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: VariableStoreError,
    },
    /// A key without certificate or the other way round: neither is overwritten.
    #[error(
        "{} has only one of secure-boot.key and secure-boot.crt; \
         put the other one beside it, or remove it for a new development pair",
        directory.display()
    )]
    HalfAKeyPair {
        /// The key folder.
        directory: PathBuf,
    },
    /// veritysetup changed its way of reporting.
    #[error("veritysetup names no root hash: {report}")]
    NoRootHash {
        /// What it said instead.
        report: String,
    },
    /// git gave something else than a time.
    #[error("git knows no time for the commit (it says `{answer}`); is this a git checkout?")]
    NoCommitTime {
        /// What it said instead.
        answer: String,
    },
    /// A file for the image that no Debian package owns.
    #[error("`{file}` is in no installed Debian package: run ci/setup")]
    NotInDebian {
        /// The file.
        file: String,
    },
    /// A file for the image that is not what Debian shipped.
    #[error("`{file}` differs from the one in {package}: apt-get install --reinstall {package}")]
    ChangedFile {
        /// The file.
        file: String,
        /// The package that owns it.
        package: String,
    },
    /// There is no kernel.
    #[error("the kernel could not be built")]
    Kernel(#[source] kernel_config::EnsureError),
    /// A mistake in or between service manifests.
    #[error("the service manifests do not fit together")]
    Services(#[source] manifest::CompileError),
    /// A manifest that only test images may hold.
    #[error("service `{0}` is `unconfined`, which only test images may have: remove the key")]
    Unconfined(manifest::Name),
    /// The SBOM says under which licence everything is.
    #[error("no licence is known for {what}")]
    NoLicence {
        /// A crate or package.
        what: String,
    },
    /// cargo or dpkg answered with something that is not understood.
    #[error("cannot make sense of what {program} says about {subject}")]
    Answer {
        /// Who was asked.
        program: &'static str,
        /// About what.
        subject: String,
    },
}
