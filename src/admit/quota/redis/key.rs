//! The names of counts in Redis: `{prefix}:{tenant}:{limit}:{caller}:{window}`, the tenant in braces as the hash tag. What counts bytes is a
//! `{limit}+bytes`.
//!
//! Invariant: no text of a caller can make a name that is another count's, or move a count to another slot. Letters, digits and `-_.@`
//! stand for themselves, everything else is `%` and two digits, and a caller longer than 64 bytes is a hash.

use sha2::{Digest as _, Sha256};
use smallvec::SmallVec;

use super::super::arithmetic::Bound;
use super::super::limit::Unit;
use super::super::{Charge, CountKey, Measure, Period};

/// The longest caller that stands in a name as it is, in bytes.
const LONGEST: usize = 64;
/// In place of a tenant, of what counts for the whole service: no tenant is called that.
const SERVICE: &str = "*";
const HEX: &[u8; 16] = b"0123456789abcdef";

/// A name, but for the window. It does not leave the stack while it is of a usual length.
pub(super) type Name = SmallVec<[u8; 128]>;

/// The name of a count, without its window.
pub(super) fn name(prefix: &str, key: &CountKey<'_>) -> Name {
    let mut name = Name::new();
    name.extend_from_slice(prefix.as_bytes());
    name.extend_from_slice(b":{");
    let tenant = key.tenant.map_or(SERVICE, |tenant| tenant.as_str());
    name.extend_from_slice(tenant.as_bytes());
    name.extend_from_slice(b"}:");
    push(&mut name, key.limit.as_bytes());
    if key.unit == Unit::UploadBytes {
        // A limit that is called so has `%2b` there.
        name.extend_from_slice(b"+bytes");
    }
    name.push(b':');
    match key.caller {
        None => {}
        Some(caller) if caller.len() <= LONGEST => push(&mut name, caller.as_bytes()),
        Some(caller) => {
            name.push(b'#');
            for byte in Sha256::digest(caller.as_bytes()) {
                hex(&mut name, byte);
            }
        }
    }
    name
}

/// The whole name: with the end of the window, or what a rate is counted in.
pub(super) fn with_window(name: &mut Name, bound: &Bound) {
    match bound.window {
        None if bound.drain == 1 => name.extend_from_slice(b":us"),
        None => name.extend_from_slice(b":ns"),
        Some((_, end)) => {
            name.push(b':');
            let mut digits = itoa::Buffer::new();
            name.extend_from_slice(digits.format(end / 1_000_000).as_bytes());
        }
    }
}

/// The name of what is held of a count: with what tells its windows from those of a limit that was called the same.
pub(super) fn of_lease(prefix: &str, charge: &Charge<'_>) -> Name {
    let mut name = name(prefix, &charge.key);
    name.push(0);
    match charge.measure {
        Measure::Rate { .. } => {}
        Measure::Window { period, zone, .. } => {
            name.push(match period {
                Period::Day => b'd',
                Period::Month => b'm',
            });
            name.extend_from_slice(zone.iana_name().unwrap_or_default().as_bytes());
        }
    }
    name
}

/// The name of the count, without its window, of which something is held by that name.
pub(super) fn of_count(lease: &[u8]) -> Name {
    let end = lease.iter().rposition(|byte| *byte == 0);
    Name::from_slice(&lease[..end.unwrap_or(lease.len())])
}

fn push(name: &mut Name, text: &[u8]) {
    for &byte in text {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'@') {
            name.push(byte);
        } else {
            name.push(b'%');
            hex(name, byte);
        }
    }
}

fn hex(name: &mut Name, byte: u8) {
    name.push(HEX[usize::from(byte >> 4)]);
    name.push(HEX[usize::from(byte & 15)]);
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use jiff::tz::TimeZone;

    use super::*;
    use crate::names::TenantId;

    #[test]
    fn names_keep_a_tenant_in_one_slot_and_callers_apart() {
        let acme = TenantId::parse("acme").unwrap();
        let callers = ['1', '2'].map(|last| format!("{}{last}", "x".repeat(99)));
        let named = |tenant, limit, caller, window| {
            let mut name = name(
                "presignd",
                &CountKey {
                    tenant,
                    limit,
                    unit: Unit::Urls,
                    caller,
                },
            );
            let bound = Bound {
                room: 1,
                unit: 1,
                drain: 1000,
                window,
            };
            with_window(&mut name, &bound);
            String::from_utf8(name.to_vec()).unwrap()
        };
        let tenant = Some(&acme);
        for (name, expected) in [
            (named(None, "urls", None, None), "presignd:{*}:urls::ns"),
            (
                named(tenant, "urls", None, None),
                "presignd:{acme}:urls::ns",
            ),
            (
                named(
                    tenant,
                    "urls",
                    Some("ci@acme.example"),
                    Some((0, 86_400_000_000)),
                ),
                "presignd:{acme}:urls:ci@acme.example:86400",
            ),
            (
                named(tenant, "urls", Some("a:b}{é#%"), None),
                "presignd:{acme}:urls:a%3ab%7d%7b%c3%a9%23%25:ns",
            ),
        ] {
            assert_eq!(name, expected);
        }
        let [one, two] = callers.each_ref().map(String::as_str);
        let long = |caller| named(tenant, "urls", Some(caller), None);
        assert_ne!(long(one), long(two));
        assert_eq!(long(one).len(), "presignd:{acme}:urls:#:ns".len() + 64);
    }

    #[test]
    fn what_is_held_of_one_measure_is_not_held_of_another() {
        let day = |period, zone| Measure::Window {
            most: 5,
            period,
            zone: TimeZone::get(zone).unwrap(),
        };
        let rate = Measure::Rate {
            interval: Duration::from_secs(1),
            burst: 5,
        };
        let measures = [
            day(Period::Day, "UTC"),
            day(Period::Month, "UTC"),
            day(Period::Day, "Europe/Berlin"),
            rate,
        ];
        let key = CountKey {
            tenant: None,
            limit: "urls",
            unit: Unit::Urls,
            caller: None,
        };
        let bytes = CountKey {
            unit: Unit::UploadBytes,
            ..key
        };
        assert_eq!(&name("p", &bytes)[..], b"p:{*}:urls+bytes:");
        let names = measures.each_ref().map(|measure| {
            let charge = Charge {
                key,
                measure,
                amount: 1,
                shadow: false,
            };
            let held = of_lease("presignd", &charge);
            assert_eq!(of_count(&held), name("presignd", &key));
            held
        });
        let different: HashSet<_> = names.iter().collect();
        assert_eq!(different.len(), names.len());
    }
}
