//! One contract for what limits count, held by every store of counts: this process, with and without a folder, and a real Redis, with and
//! without leases.
//!
//! A scenario is written once, on a [`World`](world::World) whose counts are in one of the stores; a test is named after the store and
//! the scenario. What stores may differ in is asserted where it is:
//!
//! - Redis goes by its own time, which cannot be stopped: waits are shorter there by what went by meanwhile.
//! - Redis counts no further than 2^53 - 1, and takes more for that ([`windows::numbers_are_exact_up_to_the_largest`]).
//! - With leases a replica uses up what it has taken ahead before it asks for more. So a rate is exceeded by a block for each replica, and
//!   what asks for more than one may be refused while a block is held ([`leases`]). Where one is asked for at a time, and no time passes
//!   while a block is held, nothing differs.

mod leases;
mod rates;
mod refunds;
mod reloads;
mod side_by_side;
mod terms;
mod together;
mod windows;
mod world;

/// Each scenario over each store.
macro_rules! contract {
    ($($room:ident: $($scenario:ident),* $(,)?;)*) => {
        over!(in_process InProcess: $($($room $scenario)*)*);
        over!(in_a_folder InFolder: $($($room $scenario)*)*);
        over!(redis Redis: $($($room $scenario)*)*);
        over!(leased Leased: $($($room $scenario)*)*);
    };
}

/// Each scenario over one store.
macro_rules! over {
    ($name:ident $store:ident: $($room:ident $scenario:ident)*) => {
        mod $name {
            $(
                #[tokio::test]
                async fn $scenario() {
                    super::$room::$scenario(super::world::Store::$store).await;
                }
            )*
        }
    };
}

contract! {
    rates:
        a_burst_is_there_at_once_and_then_one_comes_after_each_interval,
        more_than_a_burst_is_never_there,
        a_refusal_says_when_there_is_room_for_so_much,
        a_rate_comes_back_to_its_burst_and_no_further,
        what_weighs_nothing_is_not_counted,
        the_slowest_and_the_largest_rates_are_exact;
    windows:
        a_day_holds_so_much_until_its_midnight,
        a_month_ends_with_its_last_day,
        midnight_is_that_of_the_time_zone,
        a_day_has_23_hours_where_clocks_go_forward,
        a_day_has_25_hours_where_clocks_go_back,
        a_day_begins_late_where_midnight_is_skipped,
        a_month_is_an_hour_short_where_clocks_go_forward,
        days_of_two_time_zones_end_apart,
        a_day_of_nothing_never_has_room,
        numbers_are_exact_up_to_the_largest;
    together:
        all_limits_are_charged_or_none,
        a_refusal_names_the_first_limit_that_has_no_room,
        a_shadow_holds_nobody_up_and_takes_nothing_it_would_refuse,
        a_shadow_is_not_charged_for_what_another_refuses,
        a_limit_of_the_service_holds_for_all_tenants_together,
        tenants_and_callers_have_counts_of_their_own,
        commands_count_by_their_class_and_weight,
        bytes_count_as_declared_and_undeclared_ones_are_refused,
        looking_takes_nothing,
        an_answer_says_where_the_limits_of_the_tenant_stand;
    refunds:
        what_came_to_nothing_is_there_again,
        a_part_can_be_given_back,
        no_more_is_there_than_ever_was,
        nothing_is_given_back_to_a_day_that_began_since,
        nor_long_after_it_began,
        a_month_takes_back_what_its_day_does_not,
        a_shadow_that_was_not_charged_takes_nothing_back;
    reloads:
        a_day_that_holds_more_or_less_keeps_its_use,
        a_rate_that_is_changed_keeps_its_use,
        each_callers_count_is_kept_when_the_limit_is_changed,
        a_limit_of_the_service_keeps_its_use,
        what_is_given_back_goes_to_the_limits_that_it_was_taken_of,
        a_limit_of_another_name_or_kind_begins_anew,
        what_counts_bytes_now_has_counted_no_urls;
}
