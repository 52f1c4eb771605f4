//! The bytes of every request of OperationsService: decoded, decided, done and answered, with a record for each.
#![no_main]

use libfuzzer_sys::fuzz_target;
use presignd::proto::v1::operations_service_server::OperationsService as _;
use presignd::proto::v1::{
    FreezeServiceRequest, GetStatusRequest, GetTenantRequest, GetUsageRequest, ListTenantsRequest,
    ReloadConfigurationRequest, ResumeTenantRequest, SuspendTenantRequest, UnfreezeServiceRequest,
};
use presignd_fuzz::{House, block_on, check_operation, holds_marker};
use prost::Message as _;

/// Asks a method for what the rest of the input decodes to, if it does; gives the message and the answer.
macro_rules! ask {
    ($house:ident, $method:ident, $message:ident, $data:ident) => {{
        let Ok(message) = $message::decode($data) else {
            return;
        };
        if holds_marker(&message.encode_to_vec()) {
            return;
        }
        let answer = block_on($house.api.$method(tonic::Request::new(message.clone())));
        let name = concat!("presignd.v1.", stringify!($message));
        check_operation(name, &answer, &$house.sink.take());
        answer.ok().map(|answer| (message, answer.into_inner()))
    }};
}

fuzz_target!(|data: &[u8]| {
    // The first byte names the method.
    let [method, data @ ..] = data else { return };
    House::operated(|house| match method % 9 {
        0 => {
            let Some((asked, page)) = ask!(house, list_tenants, ListTenantsRequest, data) else {
                return;
            };
            let most = match asked.page_size {
                0 => 100,
                size => usize::try_from(size)
                    .expect("less than 0 is refused")
                    .min(1000),
            };
            assert!(page.tenants.len() <= most);
            assert!(page.tenants.is_sorted_by(|a, b| a.tenant < b.tenant));
            let after = page.tenants.iter().all(|t| t.tenant > asked.page_token);
            assert!(after || asked.page_token.is_empty(), "{page:?}");
        }
        1 => {
            if let Some((asked, shown)) = ask!(house, get_tenant, GetTenantRequest, data) {
                assert_eq!(shown.tenant.expect("a tenant").tenant, asked.tenant);
            }
        }
        2 => {
            if let Some((_, shown)) = ask!(house, get_usage, GetUsageRequest, data) {
                let mut limits = shown.limits.iter();
                assert!(limits.all(|l| l.used + l.left == l.most));
            }
        }
        3 => {
            if let Some((asked, done)) = ask!(house, suspend_tenant, SuspendTenantRequest, data) {
                let order = done.order.expect("an order");
                assert!(done.stood_already || order.reason == asked.reason);
            }
        }
        4 => {
            ask!(house, resume_tenant, ResumeTenantRequest, data);
        }
        5 => {
            if let Some((asked, done)) = ask!(house, freeze_service, FreezeServiceRequest, data) {
                let order = done.order.expect("an order");
                assert!(done.stood_already || order.reason == asked.reason);
            }
        }
        6 => {
            ask!(house, unfreeze_service, UnfreezeServiceRequest, data);
        }
        7 => {
            let asked = ask!(
                house,
                reload_configuration,
                ReloadConfigurationRequest,
                data
            );
            assert!(asked.is_none(), "there is no configuration to read");
        }
        _ => {
            if let Some((_, shown)) = ask!(house, get_status, GetStatusRequest, data) {
                assert!(shown.ready && shown.configuration.is_some());
                assert!(shown.suspended.len() <= 100);
            }
        }
    });
});
