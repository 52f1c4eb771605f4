//! What time it is at STS: the `Date` of each of its answers, errors too, and the question for nothing else.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_sdk_sts::config::interceptors::{
    BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_sdk_sts::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_sts::primitives::{DateTime, DateTimeFormat};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_types::config_bag::{Storable, StoreReplace};

use crate::scope::StsEndpoint;
use crate::scope::clock_skew::{ClockSkews, Measured};

/// Reads the `Date` of whatever an endpoint answers.
#[derive(Debug)]
pub(super) struct DateReader {
    pub(super) endpoint: StsEndpoint,
    pub(super) skews: Arc<ClockSkews>,
}

/// When an attempt left, on the monotonic clock.
#[derive(Debug, Clone, Copy)]
struct Sent(Duration);

impl Storable for Sent {
    type Storer = StoreReplace<Self>;
}

impl Intercept for DateReader {
    fn name(&self) -> &'static str {
        "presignd's DateReader"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        bag.interceptor_state()
            .store_put(Sent(self.skews.monotonic()));
        Ok(())
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let headers = context.response().headers();
        // An answer that some cache kept is as old as it says.
        let date = headers
            .get("date")
            .filter(|_| headers.get("age").is_none())
            .and_then(|date| DateTime::from_str(date, DateTimeFormat::HttpDate).ok())
            .and_then(|date| SystemTime::try_from(date).ok());
        if let (Some(date), Some(Sent(sent))) = (date, bag.load::<Sent>())
            && let Some(measured) = Measured::new(date, *sent, self.skews.monotonic())
        {
            self.skews.note(&self.endpoint, measured);
        }
        Ok(())
    }
}
