use crate::asker;
use crate::config::Config;
use crate::core::Core;
use crate::screen::Size;

/// The page as plain text, with everything on it.
#[must_use]
pub fn once(config: Config) -> String {
    let snapshot = asker::facts(config.init, &config.network);
    let frame = Core::default().frame(0, &snapshot, Size::new(120, 400));
    let keys = frame.size().rows() - 2;
    let mut lines: Vec<String> = frame.lines().take(keys).collect();
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines.join("\n")
}
