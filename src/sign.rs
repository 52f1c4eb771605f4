//! The pure core.
pub mod command;
