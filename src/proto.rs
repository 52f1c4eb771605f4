//! The generated messages and services: the contract in `proto/`, as Rust.

pub mod codec;

/// The service and its messages.
#[expect(missing_docs, reason = "generated; the protos are the documentation")]
#[allow(clippy::pedantic, unreachable_pub)]
pub mod presignd {
    /// Version 1 of the service.
    pub mod v1 {
        tonic::include_proto!("presignd.v1");
    }

    /// S3 commands.
    pub mod s3 {
        /// Version 1 of the commands.
        pub mod v1 {
            tonic::include_proto!("presignd.s3.v1");
        }
    }
}

pub use presignd::s3::v1 as s3;
pub use presignd::v1;

/// Every proto with its imports and custom options, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/presignd.binpb"));
