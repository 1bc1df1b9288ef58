//! The demonstration, which is the README's first command after the build.

use fleet_tests::Fleet;

#[tokio::test]
async fn the_demonstration_keeps_what_it_promises() {
    let fleet = Fleet::take().await;
    fleet.devfleet(&["demo"]).run().await.ended_with(0);
}
