//! The pure core.
pub mod bind;
pub mod command;
pub mod encode;
pub mod operations;
pub mod timestamp;
