//! What a request shows of its caller.
//!
//! Invariant: what is shown is a secret until it is judged, and afterwards: nothing here prints it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderValue};

use super::certificate::PeerCertificate;

/// The header with an API key.
const API_KEY: &str = "x-api-key";

/// What a request shows. Cheap to make: header values are shared, not copied.
#[derive(Clone, Default)]
pub struct Presented {
    pub(super) authorization: Shown,
    pub(super) api_key: Shown,
    pub(super) certificate: Option<PeerCertificate>,
    pub(super) peer: Option<IpAddr>,
}

/// A header that is to be there once.
#[derive(Clone, Default)]
pub(super) enum Shown {
    #[default]
    Nothing,
    Once(HeaderValue),
    Often,
}

impl Presented {
    /// What these headers show, on a connection whose client has this verified certificate and this address.
    #[must_use]
    pub fn read(
        headers: &HeaderMap,
        certificate: Option<PeerCertificate>,
        peer: Option<SocketAddr>,
    ) -> Self {
        Self {
            authorization: Shown::read(headers, http::header::AUTHORIZATION.as_str()),
            api_key: Shown::read(headers, API_KEY),
            certificate,
            peer: peer.map(|peer| peer.ip()),
        }
    }
}

impl Shown {
    fn read(headers: &HeaderMap, name: &str) -> Self {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => Self::Nothing,
            (Some(value), None) => Self::Once(value.clone()),
            (Some(_), Some(_)) => Self::Often,
        }
    }
}

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presented")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}
