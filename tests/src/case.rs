//! One case: a folder for what it leaves behind, kept only when it fails.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};

use anyhow::{Context, Result};

/// Machines that run at once: each takes a processor for itself while it boots.
static SLOTS: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

/// What a case knows of itself.
#[derive(Debug)]
pub struct Case {
    folder: PathBuf,
}

impl Case {
    /// Where everything of this case goes: `target/tests/<name>/`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A path for the file `name` of this case.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// Runs `body` as the case `name`. Its folder is removed when it succeeds.
///
/// # Panics
/// When the body fails, with the place where its serial log and the rest are kept.
pub fn case(name: &str, body: impl FnOnce(&Case) -> Result<()>) {
    let _turn = Turn::wait();
    let folder = crate::root().join("target/tests").join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("target/ can be written, cargo did so");
    let case = Case { folder };
    let outcome = catch_unwind(AssertUnwindSafe(|| body(&case)));
    let problem = match outcome {
        Ok(Ok(())) => {
            let removed = fs::remove_dir_all(&case.folder);
            removed
                .with_context(|| format!("remove {}", case.folder.display()))
                .err()
        }
        Ok(Err(error)) => Some(error),
        Err(panic) => {
            eprintln!("{name}: artefacts in {}", case.folder.display());
            std::panic::resume_unwind(panic)
        }
    };
    if let Some(problem) = problem {
        panic!(
            "{name}: {problem:?}\n\nartefacts in {}",
            case.folder.display()
        );
    }
}

struct Turn;

impl Turn {
    fn wait() -> Self {
        let limit = std::thread::available_parallelism().map_or(1, |count| count.get().min(8));
        let (running, changed) = &SLOTS;
        let mut running = running.lock().unwrap_or_else(PoisonError::into_inner);
        while *running >= limit {
            running = changed
                .wait(running)
                .unwrap_or_else(PoisonError::into_inner);
        }
        *running += 1;
        Self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *SLOTS.0.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        SLOTS.1.notify_one();
    }
}
