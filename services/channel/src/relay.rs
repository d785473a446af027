use std::fmt;

/// Bytes held per direction. A reader waits while its direction is full.
pub const CAPACITY: usize = 64 * 1024;

/// What is relayed in one session between a host and the service behind its port, without any
/// input or output. A host that leaves takes its session with it: the next one gets a new relay.
pub trait Relay: fmt::Debug + Send {
    /// How many bytes may be read from the host now.
    fn room_from_host(&self) -> usize;

    /// How many bytes may be read from the service now.
    fn room_from_back(&self) -> usize;

    /// The host sent `bytes`.
    fn host_sent(&mut self, bytes: &[u8]);

    /// The service sent `bytes`.
    ///
    /// # Errors
    /// When the connection to it is of no use.
    fn back_sent(&mut self, bytes: &[u8]) -> Result<(), Refusal>;

    /// What waits for the service; [`Relay::sent_to_back`] takes it away.
    fn to_back(&self) -> &[u8];

    fn sent_to_back(&mut self, count: usize);

    /// What waits for the host; [`Relay::sent_to_host`] takes it away.
    fn to_host(&self) -> &[u8];

    fn sent_to_host(&mut self, count: usize);

    /// The service closed the connection, refused, or could not be reached.
    fn back_lost(&mut self, reason: &str);

    /// Whether the host has begun anew, so that the connection to the service has to be, too.
    fn begins_anew(&mut self) -> bool {
        false
    }
}

/// What a service said instead of what it should.
#[derive(Debug, thiserror::Error)]
#[error("it refuses: {0}")]
pub struct Refusal(pub String);
