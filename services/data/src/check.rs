//! Lets `e2fsck` look at a damaged DATA, and says what that means.

use std::path::Path;
use std::time::Duration;

use crate::tool::{self, ToolError};

const PROGRAM: &str = "/usr/sbin/e2fsck";
/// The boot waits for it. Where it is not enough, the router starts without DATA.
const LIMIT: Duration = Duration::from_secs(60);

/// Why DATA must not be mounted.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    #[error(transparent)]
    Tool(#[from] ToolError),
    #[error("e2fsck cannot repair it without losing something (code {code}): {said}")]
    Uncorrected { code: i32, said: String },
    #[error("e2fsck found nothing to repair")]
    StillDamaged,
}

/// Checks the file system on `node` and repairs what can be repaired without losing anything
/// (`-p`). With `copy_block` the superblock there takes the place of the lost one.
///
/// Anything worse is for a person: `-y` would tear out whatever it does not understand.
///
/// # Errors
/// When something is left that is not in order.
pub fn check(node: &Path, copy_block: Option<u64>) -> Result<String, CheckError> {
    let node = node.display().to_string();
    if let Some(block) = copy_block {
        // It puts the superblock back and replays the journal, but ends with an error where the
        // journal held a newer superblock: only the second run tells how things are.
        tool::run(
            PROGRAM,
            &["-p", "-B", "4096", "-b", &block.to_string(), &node],
            LIMIT,
        )?;
    }
    // `-f`, since a file system may be damaged that calls itself clean.
    let answer = tool::run(PROGRAM, &["-p", "-f", &node], LIMIT)?;
    match answer.code {
        // 1: corrected. 2: corrected, and a mounted one would need a reboot; ours is not mounted.
        0..=3 => Ok(answer.said),
        code => Err(CheckError::Uncorrected {
            code,
            said: answer.said,
        }),
    }
}
