use std::fmt;
use std::path::Path;

use crate::mount::{self, Usage};

/// What the status line says: how full DATA is, or what is wrong with it.
#[derive(Debug)]
pub(crate) struct Status {
    kept: bool,
    troubles: Vec<String>,
    usage: Option<Usage>,
    was_full: bool,
    was_read_only: bool,
}

impl Status {
    /// DATA is there.
    pub(crate) fn kept() -> Self {
        Self {
            kept: true,
            troubles: Vec::new(),
            usage: None,
            was_full: false,
            was_read_only: false,
        }
    }

    /// Memory takes the place of DATA, because of `trouble`.
    pub(crate) fn lost(trouble: String) -> Self {
        Self {
            kept: false,
            troubles: vec![format!(
                "degraded: DATA is in memory and lost at power-off: {trouble}"
            )],
            ..Self::kept()
        }
    }

    /// Whether what is stored outlives a power-off.
    pub(crate) fn is_kept(&self) -> bool {
        self.kept
    }

    /// Something else is wrong.
    pub(crate) fn add(&mut self, trouble: String) {
        self.troubles.push(trouble);
    }

    /// Looks how full DATA is by now.
    pub(crate) fn look(&mut self, data: &Path) {
        self.usage = mount::usage(data).ok();
        let full = self.usage.is_some_and(|usage| usage.is_full());
        if full && !self.was_full {
            tracing::warn!("DATA is full: services cannot store anything; delete something");
        }
        self.was_full = full;
        let read_only = self.usage.is_some_and(|usage| usage.is_read_only);
        if read_only && !self.was_read_only {
            tracing::error!("the kernel found an error in DATA and made it read-only; reboot");
        }
        self.was_read_only = read_only;
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for trouble in &self.troubles {
            write!(f, "{trouble}; ")?;
        }
        let Some(usage) = self.usage else {
            return f.write_str("size unknown");
        };
        if usage.is_read_only {
            f.write_str("degraded: DATA is read-only after an error, a reboot checks it; ")?;
        }
        if usage.is_full() {
            f.write_str("DATA is full: ")?;
        }
        let (free, total) = (usage.free_bytes >> 20, usage.total_bytes >> 20);
        write!(f, "{free} MiB of {total} MiB free")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_is_wrong_first() {
        let mut status = Status::lost("/dev/vda7 holds an XFS file system".into());
        status.usage = Some(Usage {
            total_bytes: 16 << 20,
            free_bytes: 0,
            files_left: 100,
            is_read_only: false,
        });
        assert_eq!(
            status.to_string(),
            "degraded: DATA is in memory and lost at power-off: /dev/vda7 holds an XFS file \
             system; DATA is full: 0 MiB of 16 MiB free"
        );
    }
}
