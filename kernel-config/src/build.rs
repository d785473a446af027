//! From inputs to a cached kernel.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use crate::config::{Config, Lost};
use crate::date::timestamp;
use crate::source::{InputError, Inputs};

/// What to build from, and where to keep it.
#[derive(Debug, Clone)]
pub struct KernelRequest {
    /// The cache of this checkout's user: the kernel lies in `kernel/<key>/` below.
    pub cache: PathBuf,
    /// The folder with `*.config`.
    pub fragments: PathBuf,
    /// Debian's source archive.
    pub source: PathBuf,
    /// Compilers at a time.
    pub jobs: usize,
}

impl KernelRequest {
    /// This folder's fragments, Debian's source, every processor.
    pub fn new(cache: impl Into<PathBuf>) -> Self {
        Self {
            cache: cache.into(),
            fragments: env!("CARGO_MANIFEST_DIR").into(),
            source: "/usr/src/linux-source-6.12.tar.xz".into(),
            jobs: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// A finished kernel in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelBuild {
    pub folder: PathBuf,
    pub bzimage: PathBuf,
    /// The `.config` that it was built with.
    pub config: PathBuf,
    pub system_map: PathBuf,
    /// Type information alone, for tools that check BPF programs without booting.
    pub btf: PathBuf,
    /// As `uname -r` says it.
    pub release: String,
    /// Debian's version of the source package, for the SBOM.
    pub source_version: String,
}

#[derive(Debug, thiserror::Error)]
pub enum EnsureError {
    #[error("inputs of the kernel build")]
    Input(#[from] InputError),
    #[error("cannot {action} {}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("cannot run {program}: run ci/setup, which installs it")]
    Run {
        program: &'static str,
        source: io::Error,
    },
    #[error("{step} failed; its whole output is in {}. The end of it:\n{tail}", log.display())]
    Step {
        step: &'static str,
        log: PathBuf,
        tail: String,
    },
    #[error(
        "Kconfig did not keep {} option(s), a dependency is missing or something selects them:\n{}",
        lost.len(),
        list(lost)
    )]
    Lost { lost: Vec<Lost> },
}

/// The kernel of `request`: from the cache, or built now, which takes minutes.
///
/// Several processes may ask at once: one builds, the others wait for it.
pub fn ensure(request: &KernelRequest) -> Result<KernelBuild, EnsureError> {
    let inputs = Inputs::gather(request)?;
    let shelf = request.cache.join("kernel");
    let finished = shelf.join(&inputs.key);
    if finished.exists() {
        return open(&finished, inputs.source_version);
    }
    fs::create_dir_all(&shelf).map_err(io_error("create", &shelf))?;
    let lock_path = shelf.join("lock");
    let lock = File::create(&lock_path).map_err(io_error("create", &lock_path))?;
    lock.lock().map_err(io_error("lock", &lock_path))?;
    if !finished.exists() {
        remove_abandoned(&shelf)?;
        Workshop::new(request, &inputs, &shelf).build(&finished)?;
    }
    open(&finished, inputs.source_version)
}

fn open(folder: &Path, source_version: String) -> Result<KernelBuild, EnsureError> {
    let release_path = folder.join("release");
    let release = fs::read_to_string(&release_path).map_err(io_error("read", &release_path))?;
    Ok(KernelBuild {
        bzimage: folder.join("bzImage"),
        config: folder.join("config"),
        system_map: folder.join("System.map"),
        btf: folder.join("vmlinux.btf"),
        folder: folder.to_owned(),
        release: release.trim().to_owned(),
        source_version,
    })
}

/// Trees of builds that were killed. Whoever holds the lock is the only one who builds.
fn remove_abandoned(shelf: &Path) -> Result<(), EnsureError> {
    for entry in fs::read_dir(shelf).map_err(io_error("read", shelf))? {
        let entry = entry.map_err(io_error("read", shelf))?;
        if entry.file_name().to_string_lossy().starts_with("tmp-") {
            let path = entry.path();
            fs::remove_dir_all(&path).map_err(io_error("remove", &path))?;
        }
    }
    Ok(())
}

/// One build in progress.
struct Workshop<'a> {
    request: &'a KernelRequest,
    inputs: &'a Inputs,
    tree: PathBuf,
    results: PathBuf,
    log: PathBuf,
}

impl<'a> Workshop<'a> {
    fn new(request: &'a KernelRequest, inputs: &'a Inputs, shelf: &Path) -> Self {
        let short = &inputs.key[..12];
        Self {
            request,
            inputs,
            tree: shelf.join(format!("tmp-tree-{short}")),
            results: shelf.join(format!("tmp-results-{short}")),
            log: shelf.join(format!("{short}.log")),
        }
    }

    fn build(&self, finished: &Path) -> Result<(), EnsureError> {
        let started = Instant::now();
        eprintln!(
            "kernel: building {} with {} job(s), log: {}",
            self.inputs.source_version,
            self.request.jobs,
            self.log.display()
        );
        let made = self.unpack().and_then(|()| {
            self.configure()?;
            self.compile()?;
            self.collect()
        });
        // Gigabytes: gone before anything else, also after a failure.
        let removed = fs::remove_dir_all(&self.tree).map_err(io_error("remove", &self.tree));
        made.and(removed)?;
        fs::rename(&self.results, finished).map_err(io_error("rename into", finished))?;
        eprintln!(
            "kernel: done in {} s: {}",
            started.elapsed().as_secs(),
            finished.display()
        );
        Ok(())
    }

    fn unpack(&self) -> Result<(), EnsureError> {
        for folder in [&self.tree, &self.results] {
            fs::create_dir_all(folder).map_err(io_error("create", folder))?;
        }
        File::create(&self.log).map_err(io_error("create", &self.log))?;
        let mut tar = Command::new("tar");
        tar.arg("--strip-components=1")
            .arg("-C")
            .arg(&self.tree)
            .arg("-xf")
            .arg(&self.request.source);
        self.run("tar", "unpacking the source", tar)
    }

    fn configure(&self) -> Result<(), EnsureError> {
        let path = self.tree.join(".config");
        let read = || fs::read_to_string(&path).map_err(io_error("read", &path));
        self.run("make", "make tinyconfig", self.make("tinyconfig"))?;
        let merged = self.inputs.requests.merge_into(&read()?);
        fs::write(&path, merged).map_err(io_error("write", &path))?;
        self.run("make", "make olddefconfig", self.make("olddefconfig"))?;
        let lost = self.inputs.requests.lost_in(&Config::parse(&read()?));
        if lost.is_empty() {
            Ok(())
        } else {
            Err(EnsureError::Lost { lost })
        }
    }

    fn compile(&self) -> Result<(), EnsureError> {
        let makefile = self.tree.join("Makefile");
        // The day on which Debian packed the source, not today.
        let packed = fs::metadata(&makefile)
            .and_then(|meta| meta.modified())
            .map_err(io_error("read the date of", &makefile))?
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        // `date` understands this form too, which the kernel's scripts ask of it.
        let timestamp = timestamp(packed);
        // Where the tree lies would else reach the image through the build id of its debug
        // information.
        let remap = format!("-fdebug-prefix-map={}=/linux", self.tree.display());
        let mut make = self.make("bzImage");
        make.arg(format!("-j{}", self.request.jobs))
            .arg(format!("KBUILD_BUILD_TIMESTAMP={timestamp}"))
            .arg("KBUILD_BUILD_USER=x0")
            .arg("KBUILD_BUILD_HOST=x0")
            .arg("KBUILD_BUILD_VERSION=1")
            .arg(format!("KCFLAGS={remap}"))
            .arg(format!("KAFLAGS={remap}"));
        self.run("make", "make bzImage", make)
    }

    fn collect(&self) -> Result<(), EnsureError> {
        for (from, to) in [
            ("arch/x86/boot/bzImage", "bzImage"),
            (".config", "config"),
            ("System.map", "System.map"),
            ("include/config/kernel.release", "release"),
        ] {
            let from = self.tree.join(from);
            fs::copy(&from, self.results.join(to)).map_err(io_error("copy", &from))?;
        }
        let mut objcopy = Command::new("objcopy");
        objcopy
            .arg("--dump-section")
            .arg(format!(
                ".BTF={}",
                self.results.join("vmlinux.btf").display()
            ))
            .arg(self.tree.join("vmlinux"))
            .arg("/dev/null");
        self.run("objcopy", "extracting the BTF", objcopy)
    }

    fn make(&self, target: &str) -> Command {
        let mut make = Command::new("make");
        make.arg("-C").arg(&self.tree).arg(target);
        make
    }

    /// Runs `command` in an environment without surprises; its output goes to the log.
    fn run(
        &self,
        program: &'static str,
        step: &'static str,
        mut command: Command,
    ) -> Result<(), EnsureError> {
        let log_error = || io_error("write", &self.log);
        let mut log = File::options()
            .append(true)
            .open(&self.log)
            .map_err(log_error())?;
        writeln!(log, "== {step}: {command:?}").map_err(log_error())?;
        for variable in [
            "ARCH",
            "CC",
            "CROSS_COMPILE",
            "KBUILD_OUTPUT",
            "KCONFIG_CONFIG",
            "LD",
            "LLVM",
            "LOCALVERSION",
            "MAKEFLAGS",
            "MAKELEVEL",
            "SOURCE_DATE_EPOCH",
        ] {
            command.env_remove(variable);
        }
        let mut child = command
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.try_clone().map_err(log_error())?)
            .spawn()
            .map_err(|source| EnsureError::Run { program, source })?;
        let output = child.stdout.take().expect("stdout was piped just above");
        let mut progress = Progress::new();
        for line in BufReader::new(output).split(b'\n') {
            let mut line = line.map_err(|source| EnsureError::Run { program, source })?;
            progress.saw(&line);
            line.push(b'\n');
            log.write_all(&line).map_err(log_error())?;
        }
        let status = child
            .wait()
            .map_err(|source| EnsureError::Run { program, source })?;
        if status.success() {
            return Ok(());
        }
        Err(EnsureError::Step {
            step,
            log: self.log.clone(),
            tail: fs::read(&self.log).map_or_else(|_| String::new(), |log| tail(&log)),
        })
    }
}

/// Says now and then that the compiler is still at it.
struct Progress {
    started: Instant,
    next: Duration,
    compiled: usize,
}

impl Progress {
    const EVERY: Duration = Duration::from_secs(30);

    fn new() -> Self {
        Self {
            started: Instant::now(),
            next: Self::EVERY,
            compiled: 0,
        }
    }

    fn saw(&mut self, line: &[u8]) {
        self.compiled += usize::from(line.starts_with(b"  CC "));
        let elapsed = self.started.elapsed();
        if elapsed >= self.next {
            self.next = elapsed + Self::EVERY;
            eprintln!(
                "kernel: {} s, {} files compiled",
                elapsed.as_secs(),
                self.compiled
            );
        }
    }
}

fn tail(log: &[u8]) -> String {
    let text = String::from_utf8_lossy(log);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

fn list(lost: &[Lost]) -> String {
    lost.iter().fold(String::new(), |mut list, one| {
        writeln!(list, "  {one}").expect("writing to a String does not fail");
        list
    })
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> EnsureError {
    let path = path.to_owned();
    move |source| EnsureError::Io {
        action,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_options_are_listed_line_by_line() {
        let error = EnsureError::Lost {
            lost: vec![Lost {
                option: "EROFS_FS".to_owned(),
                file: "boot.config".to_owned(),
                asked: crate::Value::from_short("y"),
                got: crate::Value::Unset,
            }],
        };
        assert_eq!(
            error.to_string(),
            "Kconfig did not keep 1 option(s), a dependency is missing or something selects them:\n  \
             boot.config: CONFIG_EROFS_FS: asked for y, got n\n"
        );
    }

    #[test]
    fn a_failed_step_names_the_log_and_shows_its_end() {
        let shelf = tempfile::tempdir().unwrap();
        let request = KernelRequest::new(shelf.path());
        let inputs = Inputs {
            source_version: "6.12".to_owned(),
            requests: crate::Requests::default(),
            key: "0".repeat(64),
        };
        let workshop = Workshop::new(&request, &inputs, shelf.path());
        File::create(&workshop.log).unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", "seq 30; echo broken >&2; exit 2"]);
        let error = workshop.run("sh", "a step", shell).unwrap_err().to_string();
        assert!(
            error.contains(&workshop.log.display().to_string()),
            "{error}"
        );
        assert!(error.contains("broken"), "{error}");
        assert!(!error.contains("\n1\n"), "{error}");
    }

    #[test]
    fn trees_of_killed_builds_are_removed_and_nothing_else() {
        let shelf = tempfile::tempdir().unwrap();
        for name in ["tmp-tree-0", "abc"] {
            fs::create_dir(shelf.path().join(name)).unwrap();
        }
        remove_abandoned(shelf.path()).unwrap();
        assert!(shelf.path().join("abc").exists());
        assert!(!shelf.path().join("tmp-tree-0").exists());
    }
}
