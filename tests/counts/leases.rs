//! What leases may change, and by how much at the most.
//!
//! A block is what a replica takes ahead: a fifth, here. What it holds it uses whatever else there is: of a rate, whose room comes back
//! meanwhile, that is one block too much. And what it asks for in one is either at hand or Redis's: while a block is held, as much as that
//! may be refused though it is there.

use std::time::Duration;

use super::terms::{daily, get, limit, rate};
use super::world::{ACME, MINUTE, Store, World};

#[tokio::test]
async fn a_rate_is_exceeded_by_a_block_and_no_more() {
    let (burst, block) = (50, 10);
    let world = World::with(Store::Leased, vec![limit("often", rate(1, burst))]).await;
    for _ in 0..3 {
        // The second takes a block ahead, beside itself.
        world.take_each(ACME, 2).await;
        world.advance(MINUTE * 1000).await;
        // Nobody is told of more than there ever may be.
        assert_eq!(world.left(ACME).await, [burst]);
        let mut taken = 0;
        while world.charge(ACME, &[get(1)]).await.is_ok() {
            taken += 1;
        }
        assert!((burst..=burst + block).contains(&taken), "{taken}");
        assert!(taken > burst, "no block was held");
        // What was too much was not forgotten: nothing is held now.
        world.advance(MINUTE * 3).await;
        world.take_each(ACME, 3).await;
        world.later(ACME, 1, "often", MINUTE).await;
        world.advance(MINUTE * 1000).await;
    }
}

#[tokio::test]
async fn a_day_is_never_exceeded_and_no_more_than_a_block_of_it_is_refused() {
    let (most, block) = (50, 10);
    let world = World::with(Store::Leased, vec![limit("daily", daily(most))]).await;
    for amount in [2, 3, 7, 11, 20] {
        let mut taken = 0;
        // The second takes a block ahead.
        world.take_each(ACME, 2).await;
        while world.charge(ACME, &[get(amount)]).await.is_ok() {
            taken += amount;
        }
        assert!(taken + 2 <= most, "{taken} by {amount}");
        assert!(taken + 2 + amount + block > most, "{taken} by {amount}");
        let left = most - taken - 2;
        assert_eq!(world.left(ACME).await, [left], "by {amount}");
        // By one at a time all of it is there.
        world.take_each(ACME, left).await;
        world.refused(ACME, 1).await;
        world.advance(MINUTE * 24 * 60).await;
    }
}

#[tokio::test]
async fn what_is_held_when_a_limit_is_changed_goes_back() {
    let mut world = World::with(Store::Leased, vec![limit("daily", daily(50))]).await;
    let mut used = 0;
    for most in [50, 20, 100, 70] {
        world.set("acme", vec![limit("daily", daily(most))]);
        assert_eq!(world.left(ACME).await, [most - used]);
        // The second takes a block ahead.
        world.take_each(ACME, 2).await;
        used += 2;
        assert_eq!(world.left(ACME).await, [most - used]);
    }
    world.set("acme", vec![limit("daily", daily(12))]);
    world.take_each(ACME, 12 - used).await;
    world
        .later(ACME, 1, "daily", Duration::from_secs(12 * 3600 - 30))
        .await;
}
