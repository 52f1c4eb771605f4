//! presignd issues presigned S3 URLs for many tenants.
//!
//! A request walks through the rooms once, in one direction; what leaves a room proves that its step was taken, and the next room asks
//! for it:
//!
//! | room             | asks                                       | leaves                       |
//! |------------------|--------------------------------------------|------------------------------|
//! | [`authenticate`] | who asks?                                  | `Caller`                     |
//! | [`admit`]        | may they, for how long, is there room?     | `Admitted`                   |
//! | [`scope`]        | with whose permissions?                    | `ScopedCredentials`          |
//! | [`endpoint`]     | where does the URL point?                  | `SigningEndpoint`            |
//! | [`sign`]         | what is the signature?                     | `PresignedUrl`               |
//! | [`upload`]       | in parts: how divided, and how begun?      | an upload's id               |
//! | [`audit`]        | who will know?                             | a confirmed record           |
//!
//! [`presign`] is that corridor, and what operators order in [`operate`] shuts it. [`grpc`] is its front door, [`app`] builds the rooms from the [`config`], and only `app` names the
//! adapters. `names`, `clock`, `sign` and `config` use nothing else in the crate, save the generated messages of [`proto`].

pub mod clock;
pub mod metrics;
pub mod names;
pub mod proto;
pub mod redis;
pub mod watch;

pub mod authenticate;
// In flow order, not alphabetical.
pub mod admit;
pub mod audit;
pub mod endpoint;
pub mod scope;
pub mod sign;
pub mod upload;

pub mod operate;
pub mod presign;
pub mod refusal;
pub mod tenant;

pub mod app;
pub mod cli;
pub mod config;
#[cfg(feature = "dev")]
pub mod dev;
pub mod grpc;
pub mod telemetry;
