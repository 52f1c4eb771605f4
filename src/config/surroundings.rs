//! What a configuration refers to and cannot know by itself: the environment, and what S3's commands and resources are.
//!
//! Asked while the file is read, so that a misspelt command is reported together with every other mistake.

use std::time::SystemTime;

use super::mistake::{Located, Mistake};
use super::tenant::Tenant;

/// Whoever reads a configuration knows these. Several threads may ask.
pub trait Surroundings: Sync {
    /// The value of an environment variable.
    fn environment(&self, name: &str) -> Option<String>;

    /// The time.
    fn now(&self) -> SystemTime;

    /// Whether there is a command or class of this name; if not, how a sentence that begins with the name goes on.
    fn command(&self, name: &str) -> Result<(), String>;

    /// Whether this is a resource; if not, how a sentence that begins with it goes on.
    fn resource(&self, text: &str) -> Result<(), String>;

    /// Whether this is the name or the ARN of a bucket; if not, how a sentence that begins with it goes on.
    fn bucket(&self, text: &str) -> Result<(), String>;

    /// Whether this is a media type or a range of them; if not, how a sentence that begins with it goes on.
    fn media_type(&self, text: &str) -> Result<(), String>;

    /// Whether this is an address or a network; if not, how a sentence that begins with it goes on.
    fn source_ip(&self, text: &str) -> Result<(), String>;

    /// What is wrong with a tenant as a whole.
    fn tenant(&self, id: &str, tenant: &Located<Tenant>) -> Vec<Mistake>;
}

/// An environment in which every command, resource and media type is known, on 2 January 2026.
#[cfg(test)]
impl<F: Fn(&str) -> Option<String> + Sync> Surroundings for F {
    fn environment(&self, name: &str) -> Option<String> {
        self(name)
    }

    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_767_323_045)
    }

    fn command(&self, _name: &str) -> Result<(), String> {
        Ok(())
    }

    fn resource(&self, _text: &str) -> Result<(), String> {
        Ok(())
    }

    fn bucket(&self, _text: &str) -> Result<(), String> {
        Ok(())
    }

    fn media_type(&self, _text: &str) -> Result<(), String> {
        Ok(())
    }

    fn source_ip(&self, _text: &str) -> Result<(), String> {
        Ok(())
    }

    fn tenant(&self, _id: &str, _tenant: &Located<Tenant>) -> Vec<Mistake> {
        Vec::new()
    }
}
