//! Runs the host's tools.

use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Runs `program` and returns what it printed. Fails with what it complained about.
pub fn tool(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("start {program}: is it installed? (ci/setup)"))?;
    ensure!(
        output.status.success(),
        "{program} {}: {} {}",
        arguments.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
