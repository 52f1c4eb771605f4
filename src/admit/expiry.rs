//! For how long a URL works, and what decided it. Pure.
//!
//! Invariant: what is answered is never longer than any cap, nor than the session that signs.

use std::time::Duration;

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
    /// The grant's `max_expiry`.
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
    grant_cap: Option<u32>,
) -> Result<Expiry, AboveCap> {
    let (tenant_cap, name) = tenant.cap();
    let (cap, cap_bound, cap_name) = match grant_cap {
        Some(grant) if grant < tenant_cap => (grant, Bound::GrantCap, "the grant's max_expiry"),
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
        })
    } else if may_shorten {
        Ok(Expiry {
            seconds: cap,
            bound: cap_bound,
            may_shorten,
        })
    } else {
        Err(AboveCap {
            asked: wanted,
            cap,
            cap_name,
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

    #[test]
    fn a_session_shortens_only_what_may_be_shortened() {
        let expiry = |may_shorten| Expiry {
            seconds: 900,
            bound: Bound::Request,
            may_shorten,
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
