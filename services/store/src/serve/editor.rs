//! One editor at a time.

use store_api::{Editor, Refusal};

/// A session that rests for so long is over.
const REST_MS: u64 = 30 * 60 * 1000;

/// Who edits, if anybody.
#[derive(Debug, Default)]
pub(super) struct Editing(Option<Session>);

#[derive(Debug)]
struct Session {
    token: String,
    editor: Editor,
    connection: u64,
    used_at_ms: u64,
}

impl Editing {
    /// Begins a session on a connection.
    pub(super) fn begin(
        &mut self,
        connection: u64,
        author: &str,
        token: String,
        time_ms: i64,
        boottime_ms: u64,
    ) -> Result<String, Refusal> {
        self.check(None, boottime_ms)?;
        self.0 = Some(Session {
            token: token.clone(),
            editor: Editor {
                author: author.chars().take(128).collect(),
                since_ms: time_ms,
            },
            connection,
            used_at_ms: boottime_ms,
        });
        Ok(token)
    }

    /// Whether the holder of `token` (or nobody) may change the configuration.
    pub(super) fn check(&mut self, token: Option<&str>, boottime_ms: u64) -> Result<(), Refusal> {
        self.expire(boottime_ms);
        match (&mut self.0, token) {
            (None, None) => Ok(()),
            (Some(session), Some(token)) if session.token == token => {
                session.used_at_ms = boottime_ms;
                Ok(())
            }
            (_, Some(_)) => Err(Refusal::NoSuchSession {}),
            (Some(session), None) => Err(Refusal::EditInProgress {
                author: session.editor.author.clone(),
                since_ms: session.editor.since_ms,
            }),
        }
    }

    /// Ends the session `token`.
    pub(super) fn end(&mut self, token: &str, boottime_ms: u64) -> Result<(), Refusal> {
        self.check(Some(token), boottime_ms)?;
        self.0 = None;
        Ok(())
    }

    /// Ends the session of a connection that is gone; whether there was one.
    pub(super) fn gone(&mut self, connection: u64) -> bool {
        self.0.take_if(|s| s.connection == connection).is_some()
    }

    /// Ends a session that rested for too long; whether there was one.
    pub(super) fn expire(&mut self, boottime_ms: u64) -> bool {
        let is_over = |s: &mut Session| boottime_ms.saturating_sub(s.used_at_ms) >= REST_MS;
        self.0.take_if(is_over).is_some()
    }

    /// Who edits.
    pub(super) fn editor(&self) -> Option<Editor> {
        self.0.as_ref().map(|session| session.editor.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_edits_at_a_time_until_they_leave_or_rest() {
        let mut editing = Editing::default();
        editing.check(None, 0).unwrap();
        editing.begin(1, "ada", "t1".into(), 5, 0).unwrap();
        let refusal = editing.begin(2, "bob", "t2".into(), 6, 1).unwrap_err();
        let expected = Refusal::EditInProgress {
            author: "ada".into(),
            since_ms: 5,
        };
        assert_eq!(refusal, expected);
        assert_eq!(editing.check(None, 1), Err(expected));
        assert_eq!(editing.check(Some("x"), 1), Err(Refusal::NoSuchSession {}));
        // Each use counts as no rest.
        editing.check(Some("t1"), REST_MS - 1).unwrap();
        editing.check(Some("t1"), REST_MS + 1).unwrap();
        assert_eq!(
            editing.check(Some("t1"), 2 * REST_MS + 1),
            Err(Refusal::NoSuchSession {})
        );
        editing.begin(2, "bob", "t2".into(), 6, 0).unwrap();
        assert!(!editing.gone(1) && editing.gone(2));
        editing.begin(3, "eve", "t3".into(), 7, 0).unwrap();
        editing.end("t3", 0).unwrap();
        assert_eq!(editing.editor(), None);
    }
}
