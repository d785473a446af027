//! Long work on the router, from this side.

use zbus::{OwnedObjectPath, OwnedVariant};

use crate::Error;
use crate::bus::{Bus, JOB, Options};

/// A job that this connection began.
#[derive(Debug)]
pub(crate) struct Job<'b> {
    bus: &'b Bus,
    name: &'static str,
    path: OwnedObjectPath,
}

impl<'b> Job<'b> {
    pub(crate) fn new(bus: &'b Bus, name: &'static str, path: OwnedObjectPath) -> Self {
        Self { bus, name, path }
    }

    fn call<R>(&self, method: &str, body: &(impl serde::Serialize + zbus::Type)) -> Result<R, Error>
    where
        R: serde::de::DeserializeOwned + zbus::Type,
    {
        let path = self.path.as_str();
        self.bus.call_at(self.name, path, JOB, method, body)
    }

    /// What comes out, as it comes, until `take` has enough (false) or the job ends.
    pub(crate) fn read_all(
        &self,
        mut take: impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<String, Error> {
        loop {
            let bytes: Vec<u8> = self.call("Read", &(Options::new(),))?;
            if !bytes.is_empty() {
                take(&bytes)?;
                continue;
            }
            match self.property("State")?.as_str() {
                "running" => {}
                "done" => return self.property("Result"),
                "cancelled" => return Err(Error::Other("it was cancelled".into())),
                _ => {
                    return Err(Error::Answer {
                        kind: "Failed".into(),
                        message: self.property("Result")?,
                    });
                }
            }
        }
    }

    pub(crate) fn write(&self, bytes: &[u8]) -> Result<(), Error> {
        self.call("Write", &(bytes, Options::new()))
    }

    pub(crate) fn finish(&self) -> Result<(), Error> {
        self.call("Finish", &(Options::new(),))
    }

    pub(crate) fn cancel(&self) -> Result<(), Error> {
        self.call("Cancel", &(Options::new(),))
    }

    fn property(&self, name: &str) -> Result<String, Error> {
        let properties = "org.freedesktop.DBus.Properties";
        let path = self.path.as_str();
        let value: OwnedVariant =
            self.bus
                .call_at(self.name, path, properties, "Get", &(JOB, name))?;
        String::try_from(value).map_err(|error| Error::Other(error.to_string()))
    }
}
