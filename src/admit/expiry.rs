//! For how long a URL works, and what decided it. Pure.
//!
//! Invariant: what is answered is never longer than any cap, nor than the session that signs.

use std::time::{Duration, SystemTime};

/// The longest expiry that S3 takes: seven days, in seconds.
pub const MAX_EXPIRY: u32 = 604_800;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Seconds from 1 to [`MAX_EXPIRY`]; `None` leaves it to the tenant.
    pub expires_in: Option<u32>,
    /// Whether to shorten what is too long, or to refuse it.
    pub mode: Mode,
}

/// What to do with an expiry that is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Refuse.
    Reject,
    /// Shorten.
    Clamp,
}

/// A tenant's own rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TenantExpiry {
    /// Where nothing is asked, in seconds.
    pub default: u32,
    /// The longest, in seconds.
    pub max: u32,
    /// How much earlier than now signatures are dated, in seconds, for clocks that are behind.
    pub backdate: u32,
    /// The age, in seconds, at which the store takes a signature for too old, whatever its URL says. More than `backdate`.
    pub signature_age: Option<u32>,
}

/// The date of a signature, and the life that is signed with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dating {
    /// By how many seconds the signature is dated before now.
    pub earlier: u32,
    /// For how many seconds from that date the URL works.
    pub life: u32,
}

impl TenantExpiry {
    /// The longest that any URL may live, in seconds, and which setting says so.
    fn cap(&self) -> (u32, &'static str) {
        // A signature is as old as it is dated.
        let age = self.signature_age;
        match age.map(|age| age.saturating_sub(self.backdate)) {
            Some(age) if age < self.max => (
                age,
                if self.backdate == 0 {
                    "the tenant's session.signature_age"
                } else {
                    "the tenant's session.signature_age less its expiry.backdate"
                },
            ),
            _ => (self.max, "the tenant's expiry.max"),
        }
    }

    /// Dates a signature whose URL is to work for so many seconds from now: it ends when it would have ended undated. S3's limit on
    /// the life that is signed comes first.
    #[must_use]
    pub fn dating(&self, seconds: u32) -> Dating {
        let earlier = self.backdate.min(MAX_EXPIRY.saturating_sub(seconds));
        Dating {
            earlier,
            life: seconds + earlier,
        }
    }
}

/// What set an expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// The request.
    Request,
    /// The tenant's default.
    Default,
    /// The grant's `max_expiry`, or its end.
    GrantCap,
    /// The tenant's `expiry.max`, or its `session.signature_age` if that is less.
    TenantCap,
    /// The end of the session.
    Credentials,
}

impl Bound {
    /// The name in records: that of the contract's `ExpiryBound`, without its prefix.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Request => "REQUEST",
            Self::Default => "DEFAULT",
            Self::GrantCap => "GRANT_CAP",
            Self::TenantCap => "TENANT_CAP",
            Self::Credentials => "CREDENTIALS",
        }
    }
}

/// An expiry within the caps, not yet held against a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiry {
    /// Seconds.
    pub seconds: u32,
    /// What set it.
    pub bound: Bound,
    /// Whether a shorter session may shorten it.
    pub may_shorten: bool,
    /// When the grant ends that allows it.
    pub ends: Option<SystemTime>,
}

/// What grants say of an expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GrantCap {
    /// The longest, in seconds.
    pub max_expiry: Option<u32>,
    /// When they end.
    pub ends: Option<SystemTime>,
}

impl GrantCap {
    /// The longest at this time, in seconds. `None`: any.
    #[must_use]
    pub fn left_at(&self, now: SystemTime) -> Option<u32> {
        let until_end = self.ends.map(|end| until(end, now));
        self.max_expiry.into_iter().chain(until_end).min()
    }

    /// The one that is longer at this time.
    #[must_use]
    pub fn wider(self, other: Self, now: SystemTime) -> Self {
        match (self.left_at(now), other.left_at(now)) {
            (Some(own), Some(others)) if own >= others => self,
            (None, _) => self,
            _ => other,
        }
    }

    /// What keeps to both.
    #[must_use]
    pub fn narrower(self, other: Self) -> Self {
        Self {
            max_expiry: self.max_expiry.into_iter().chain(other.max_expiry).min(),
            ends: self.ends.into_iter().chain(other.ends).min(),
        }
    }

    /// The longest at this time, in seconds, and which setting says so.
    fn named_at(&self, now: SystemTime) -> Option<(u32, &'static str)> {
        let left = self.left_at(now)?;
        let name = if self.max_expiry == Some(left) {
            "the grant's max_expiry"
        } else {
            UNTIL_END
        };
        Some((left, name))
    }
}

/// What a refusal calls the time that a grant still has.
const UNTIL_END: &str = "what is left until the grant's not_after,";

/// Whole seconds until then.
fn until(end: SystemTime, now: SystemTime) -> u32 {
    let left = end.duration_since(now).unwrap_or_default();
    u32::try_from(left.as_secs()).unwrap_or(u32::MAX)
}

/// Longer than a cap, and the request does not want it shortened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expires_in of {asked} s is above {cap_name} of {cap} s: ask for less, leave it out, or set expiry_mode to CLAMP"
)]
pub struct AboveCap {
    /// Seconds asked.
    pub asked: u32,
    /// The cap, in seconds.
    pub cap: u32,
    /// The cap's name in the configuration.
    pub cap_name: &'static str,
}

/// Longer than the session, and the request does not want it shortened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expires_in of {asked} s is beyond the session, which ends in {remaining} s: ask for less, or set expiry_mode to CLAMP"
)]
pub struct BeyondSession {
    /// Seconds asked.
    pub asked: u32,
    /// Whole seconds that are left of the session.
    pub remaining: u32,
}

/// Holds what is asked against the caps.
///
/// # Errors
/// If it is above a cap and may not be shortened.
pub fn within_caps(
    asked: Asked,
    tenant: TenantExpiry,
    grant_cap: GrantCap,
    now: SystemTime,
) -> Result<Expiry, AboveCap> {
    let (tenant_cap, name) = tenant.cap();
    let (cap, cap_bound, cap_name) = match grant_cap.named_at(now) {
        Some((grant, name)) if grant < tenant_cap => (grant, Bound::GrantCap, name),
        _ => (tenant_cap, Bound::TenantCap, name),
    };
    let (wanted, bound) = match asked.expires_in {
        Some(seconds) => (seconds, Bound::Request),
        None => (tenant.default, Bound::Default),
    };
    let may_shorten = asked.expires_in.is_none() || asked.mode == Mode::Clamp;
    if wanted <= cap {
        Ok(Expiry {
            seconds: wanted,
            bound,
            may_shorten,
            ends: grant_cap.ends,
        })
    } else if may_shorten {
        Ok(Expiry {
            seconds: cap,
            bound: cap_bound,
            may_shorten,
            ends: grant_cap.ends,
        })
    } else {
        Err(AboveCap {
            asked: wanted,
            cap,
            cap_name,
        })
    }
}

/// Holds an expiry against what is left of its grant: time has passed since the grant was found to allow it.
///
/// # Errors
/// If the grant ends first and the expiry may not be shortened, or the grant has less than a second left.
pub fn within_grant(expiry: Expiry, now: SystemTime) -> Result<Expiry, AboveCap> {
    let Some(end) = expiry.ends else {
        return Ok(expiry);
    };
    let left = until(end, now);
    if expiry.seconds <= left {
        Ok(expiry)
    } else if expiry.may_shorten && left >= 1 {
        Ok(Expiry {
            seconds: left,
            bound: Bound::GrantCap,
            ..expiry
        })
    } else {
        Err(AboveCap {
            asked: expiry.seconds,
            cap: left,
            cap_name: UNTIL_END,
        })
    }
}

/// Holds an expiry against what is left of the session that signs.
///
/// # Errors
/// If the session ends first and the expiry may not be shortened, or the session has less than a second left.
pub fn within_session(
    expiry: Expiry,
    remaining: Option<Duration>,
) -> Result<Expiry, BeyondSession> {
    let Some(remaining) = remaining else {
        return Ok(expiry);
    };
    let remaining = u32::try_from(remaining.as_secs()).unwrap_or(u32::MAX);
    if expiry.seconds <= remaining {
        Ok(expiry)
    } else if expiry.may_shorten && remaining >= 1 {
        Ok(Expiry {
            seconds: remaining,
            bound: Bound::Credentials,
            ..expiry
        })
    } else {
        Err(BeyondSession {
            asked: expiry.seconds,
            remaining,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn within_caps(
        asked: Asked,
        tenant: TenantExpiry,
        max_expiry: Option<u32>,
    ) -> Result<Expiry, AboveCap> {
        let cap = GrantCap {
            max_expiry,
            ends: None,
        };
        super::within_caps(asked, tenant, cap, NOW)
    }

    const TENANT: TenantExpiry = TenantExpiry {
        default: 900,
        max: 43_200,
        backdate: 0,
        signature_age: None,
    };

    fn asked(expires_in: impl Into<Option<u32>>, mode: Mode) -> Asked {
        Asked {
            expires_in: expires_in.into(),
            mode,
        }
    }

    #[test]
    fn the_smallest_of_what_is_asked_and_the_caps_wins_and_is_named() {
        let cases = [
            (asked(60, Mode::Reject), Some(3600), (60, Bound::Request)),
            (
                asked(3600, Mode::Reject),
                Some(3600),
                (3600, Bound::Request),
            ),
            (asked(None, Mode::Reject), Some(3600), (900, Bound::Default)),
            (asked(None, Mode::Reject), None, (900, Bound::Default)),
            (asked(None, Mode::Reject), Some(300), (300, Bound::GrantCap)),
            (
                asked(3601, Mode::Clamp),
                Some(3600),
                (3600, Bound::GrantCap),
            ),
            (asked(50_000, Mode::Clamp), None, (43_200, Bound::TenantCap)),
            (
                asked(50_000, Mode::Clamp),
                Some(90_000),
                (43_200, Bound::TenantCap),
            ),
        ];
        for (asked, grant, (seconds, bound)) in cases {
            let expiry = within_caps(asked, TENANT, grant).unwrap();
            assert_eq!(
                (expiry.seconds, expiry.bound),
                (seconds, bound),
                "{asked:?} under {grant:?}"
            );
        }
    }

    #[test]
    fn rejection_names_the_cap() {
        let error = within_caps(asked(3601, Mode::Reject), TENANT, Some(3600)).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("the grant's max_expiry of 3600 s"),
            "{error}"
        );
        let error = within_caps(asked(50_000, Mode::Reject), TENANT, None).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("the tenant's expiry.max of 43200 s"),
            "{error}"
        );
    }

    #[test]
    fn a_signature_that_ages_caps_and_is_named() {
        let tenant = |backdate| TenantExpiry {
            signature_age: Some(600),
            backdate,
            ..TENANT
        };
        let clamped = within_caps(asked(3600, Mode::Clamp), tenant(0), None).unwrap();
        assert_eq!((clamped.seconds, clamped.bound), (600, Bound::TenantCap));
        let default = within_caps(asked(None, Mode::Reject), tenant(60), None).unwrap();
        assert_eq!((default.seconds, default.bound), (540, Bound::TenantCap));
        let granted = within_caps(asked(None, Mode::Reject), tenant(60), Some(300)).unwrap();
        assert_eq!((granted.seconds, granted.bound), (300, Bound::GrantCap));
        for (backdate, named) in [
            (0, "the tenant's session.signature_age of 600 s"),
            (
                60,
                "session.signature_age less its expiry.backdate of 540 s",
            ),
        ] {
            let refused = within_caps(asked(601, Mode::Reject), tenant(backdate), None);
            let said = refused.unwrap_err().to_string();
            assert!(said.contains(named), "{said}");
        }
    }

    fn ending(max_expiry: Option<u32>, left: u64) -> GrantCap {
        GrantCap {
            max_expiry,
            ends: Some(NOW + Duration::from_millis(left)),
        }
    }

    #[test]
    fn a_grant_that_ends_caps_and_is_named() {
        let clamp = |cap| {
            let expiry = super::within_caps(asked(3600, Mode::Clamp), TENANT, cap, NOW).unwrap();
            (expiry.seconds, expiry.bound)
        };
        for (max_expiry, left, expected) in [
            (None, 600_999, (600, Bound::GrantCap)),
            (Some(300), 600_000, (300, Bound::GrantCap)),
            (Some(900), 600_000, (600, Bound::GrantCap)),
            (None, 3_600_000, (3600, Bound::Request)),
        ] {
            let cap = ending(max_expiry, left);
            assert_eq!(clamp(cap), expected, "{cap:?}");
        }
        let refused = asked(601, Mode::Reject);
        let refused = super::within_caps(refused, TENANT, ending(None, 600_000), NOW);
        let said = refused.unwrap_err().to_string();
        let named = "above what is left until the grant's not_after, of 600 s";
        assert!(said.contains(named), "{said}");
    }

    #[test]
    fn what_was_allowed_a_while_ago_still_ends_with_its_grant() {
        let cap = ending(None, 600_000);
        let expiry = |mode| super::within_caps(asked(600, mode), TENANT, cap, NOW).unwrap();
        let later = |seconds| NOW + Duration::from_secs(seconds);
        let cut = within_grant(expiry(Mode::Clamp), later(2)).unwrap();
        assert_eq!((cut.seconds, cut.bound), (598, Bound::GrantCap));
        assert_eq!(
            within_grant(expiry(Mode::Reject), NOW),
            Ok(expiry(Mode::Reject))
        );
        assert!(within_grant(expiry(Mode::Reject), later(2)).is_err());
        assert!(within_grant(expiry(Mode::Clamp), later(600)).is_err());
    }

    #[test]
    fn a_session_shortens_only_what_may_be_shortened() {
        let expiry = |may_shorten| Expiry {
            seconds: 900,
            bound: Bound::Request,
            may_shorten,
            ends: None,
        };
        let left = |seconds| Some(Duration::from_millis(seconds));
        assert_eq!(within_session(expiry(false), None), Ok(expiry(false)));
        assert_eq!(
            within_session(expiry(false), left(900_999)),
            Ok(expiry(false))
        );
        let cut = within_session(expiry(true), left(60_999)).unwrap();
        assert_eq!((cut.seconds, cut.bound), (60, Bound::Credentials));
        let refused = BeyondSession {
            asked: 900,
            remaining: 899,
        };
        assert_eq!(within_session(expiry(false), left(899_999)), Err(refused));
        assert!(within_session(expiry(true), left(999)).is_err());
    }

    proptest! {
        #[test]
        fn no_cap_is_ever_exceeded(
            expires_in in proptest::option::of(1..=MAX_EXPIRY),
            clamp: bool,
            default in 1..=MAX_EXPIRY,
            max in 1..=MAX_EXPIRY,
            grant in proptest::option::of(1..=MAX_EXPIRY),
            left in 0..2 * MAX_EXPIRY,
        ) {
            let mode = if clamp { Mode::Clamp } else { Mode::Reject };
            let tenant = TenantExpiry { default, max, ..TENANT };
            let Ok(expiry) = within_caps(asked(expires_in, mode), tenant, grant) else {
                prop_assert!(expires_in.is_some() && !clamp, "only an explicit expiry under REJECT is refused");
                return Ok(());
            };
            prop_assert!(expiry.seconds >= 1 && expiry.seconds <= max && grant.is_none_or(|g| expiry.seconds <= g));
            prop_assert!(expiry.bound != Bound::Request || Some(expiry.seconds) == expires_in);
            if let Ok(final_expiry) = within_session(expiry, Some(Duration::from_secs(left.into()))) {
                prop_assert!(final_expiry.seconds <= left && final_expiry.seconds >= 1);
            }
        }

        #[test]
        fn no_url_outlives_its_grant(
            expires_in in proptest::option::of(1..=MAX_EXPIRY), clamp: bool, left in 1..2_000_000_000u64, max in proptest::option::of(1..=MAX_EXPIRY),
            waited in 0..1_000_000u64,
        ) {
            let mode = if clamp { Mode::Clamp } else { Mode::Reject };
            let cap = ending(max, left);
            prop_assume!(cap.left_at(NOW) != Some(0));
            let signed_at = NOW + Duration::from_millis(waited);
            if let Ok(expiry) = super::within_caps(asked(expires_in, mode), TENANT, cap, NOW)
                && let Ok(expiry) = within_grant(expiry, signed_at)
            {
                prop_assert!(expiry.seconds >= 1);
                prop_assert!(signed_at + Duration::from_secs(expiry.seconds.into()) <= cap.ends.unwrap());
            }
        }

        #[test]
        fn caps_are_as_wide_as_one_and_as_narrow_as_both(
            a in proptest::option::of(1..100u32), b in proptest::option::of(1..100u32), ends in (1..100_000u64, 1..100_000u64),
        ) {
            let (a, b) = (ending(a, ends.0), ending(b, ends.1));
            let (wider, narrower) = (a.wider(b, NOW), a.narrower(b));
            prop_assert_eq!(wider.left_at(NOW), a.left_at(NOW).max(b.left_at(NOW)));
            prop_assert_eq!(narrower.left_at(NOW), a.left_at(NOW).min(b.left_at(NOW)));
        }

        #[test]
        fn no_url_outlives_its_signature(
            expires_in in proptest::option::of(1..=MAX_EXPIRY), age in 301..=MAX_EXPIRY, backdate in 0..=300u32,
        ) {
            let tenant = TenantExpiry { backdate, signature_age: Some(age), max: MAX_EXPIRY, ..TENANT };
            let expiry = within_caps(asked(expires_in, Mode::Clamp), tenant, None).unwrap();
            prop_assert!(tenant.dating(expiry.seconds).life <= age, "{expiry:?}");
        }

        #[test]
        fn a_backdated_url_ends_when_it_would_have_ended_undated(
            seconds in 1..=MAX_EXPIRY, backdate in 0..=300u32,
        ) {
            let tenant = TenantExpiry { backdate, ..TENANT };
            let Dating { earlier, life } = tenant.dating(seconds);
            prop_assert!(life - earlier == seconds, "what is left from now on is what was admitted");
            prop_assert!(earlier <= backdate && life <= MAX_EXPIRY);
            prop_assert!(earlier == backdate || life == MAX_EXPIRY, "only S3's limit makes it less");
        }
    }
}
