//! When a session is renewed ahead of need. Pure.
//!
//! While it still covers the longest expiry that the tenant's caps allow, so that no request waits for STS; but not before about half of
//! its life is over, however long that expiry is, so that STS is called about twice in a session's life at the most. Who asks for more
//! than half of it, and insists, may have to wait.

use std::time::Duration;

use super::MARGIN;

/// Whether a session with so much left is to be renewed.
///
/// `life` is what it lasted at its beginning, `longest` the tenant's longest expiry. `jitter`, from 0 to 1, is the session's own, so that
/// replicas and tenants that began together are not renewed together.
pub(super) fn is_due(left: Duration, life: Duration, longest: Duration, jitter: f64) -> bool {
    let covered = longest.min(life / 2) + MARGIN;
    // A renewal takes a moment, and jitter its room.
    let ahead = life.mul_f64((1.0 + jitter.clamp(0.0, 1.0)) / 20.0);
    // Only for sessions of seconds is the margin so much.
    left <= (covered + ahead).min(life.mul_f64(0.61))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: Duration = Duration::from_hours(1);

    const fn minutes(count: u64) -> Duration {
        Duration::from_mins(count)
    }

    #[test]
    fn a_short_expiry_lets_a_session_grow_old() {
        let quarter = minutes(15);
        assert!(!is_due(minutes(22), HOUR, quarter, 0.0));
        assert!(is_due(minutes(18), HOUR, quarter, 0.0));
        assert!(
            is_due(minutes(20), HOUR, quarter, 1.0),
            "jitter makes it earlier"
        );
        assert!(!is_due(minutes(22), HOUR, quarter, 1.0));
    }

    #[test]
    fn a_long_expiry_waits_for_half_of_the_life() {
        for longest in [minutes(30), minutes(59), HOUR, 12 * HOUR] {
            for jitter in [0.0, 0.5, 1.0] {
                assert!(!is_due(minutes(37), HOUR, longest, jitter), "{longest:?}");
                assert!(is_due(minutes(32), HOUR, longest, jitter), "{longest:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn it_is_due_before_it_is_too_short_and_not_before_a_third_of_its_life(
            life in 900u64..=43_200, longest in 1u64..=604_800, jitter in 0.0..=1.0f64,
        ) {
            let (life, longest) = (Duration::from_secs(life), Duration::from_secs(longest));
            let too_short = longest.min(life / 2) + MARGIN;
            prop_assert!(is_due(too_short, life, longest, jitter));
            prop_assert!(!is_due(life.mul_f64(0.62), life, longest, jitter));
        }

        #[test]
        fn sessions_of_seconds_are_not_renewed_all_the_time(millis in 1u64..20_000, jitter in 0.0..=1.0f64) {
            let life = Duration::from_millis(millis);
            prop_assert!(!is_due(life.mul_f64(0.62), life, HOUR, jitter));
        }
    }
}
