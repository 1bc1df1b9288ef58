//! Bad input against real nodes: one clear error, its exit code, and nothing changed.

use fleet_tests::{
    Fleet,
    fleet::{BASE, fleet_file},
};

#[tokio::test]
async fn another_fleets_operator_is_refused() {
    let fleet = Fleet::take().await;
    let folder = tempfile::tempdir().unwrap();
    let strange = folder.path().join("fleet.yml");
    fleet
        .ctl_with(
            &strange,
            &["init", "--name", "other", "--operator", "mallory"],
        )
        .run()
        .await
        .ended_with(0);
    let ours = std::fs::read_to_string(fleet_file()).unwrap();
    let theirs = std::fs::read_to_string(&strange).unwrap();
    let nodes = ours.split("nodes:").nth(1).unwrap();
    let theirs = theirs.split("nodes:").next().unwrap();
    std::fs::write(&strange, format!("{theirs}nodes:{nodes}")).unwrap();
    let ran = fleet
        .ctl_with(&strange, &["status", "--nodes", "node-1"])
        .run()
        .await;
    assert!([6, 7].contains(&ran.code), "{ran:?}");
    fleet.assert_all_on(BASE).await;
}

#[tokio::test]
async fn a_database_that_is_down_refuses_the_plan() {
    let fleet = Fleet::take().await;
    let next = fleet.release("1.1.0-test", &[]).await;
    fleet
        .on_node("node-2", &["docker", "pause", "togather-db"])
        .run()
        .await
        .ended_with(0);
    let ran = fleet.roll_out(&next, &["--nodes", "all"]).run().await;
    fleet
        .on_node("node-2", &["docker", "unpause", "togather-db"])
        .run()
        .await
        .ended_with(0);
    ran.ended_with(1).saying("database");
    fleet
        .until("the database is back", |status| {
            status["node-2"]["health"]["status"] == "healthy"
        })
        .await;
    fleet.assert_all_on(BASE).await;
}

#[tokio::test]
async fn a_dirty_schema_refuses_the_plan() {
    let fleet = Fleet::take().await;
    let next = fleet.release("1.1.0-test", &[]).await;
    let dirty = |value: &str| {
        let sql = format!("UPDATE schema_migrations SET dirty = {value}");
        let psql = [
            "docker",
            "exec",
            "togather-db",
            "psql",
            "-U",
            "togather",
            "-d",
            "togather",
            "-c",
        ];
        fleet.on_node("node-1", &psql).args([sql])
    };
    dirty("true").run().await.ended_with(0);
    let ran = fleet.roll_out(&next, &["--nodes", "all"]).run().await;
    dirty("false").run().await.ended_with(0);
    ran.ended_with(5).saying("dirty");
    fleet
        .until("health is back", |status| {
            status["node-1"]["health"]["status"] == "healthy"
        })
        .await;
    fleet.assert_all_on(BASE).await;
}

#[tokio::test]
async fn a_caddyfile_that_lost_its_import_refuses_the_plan() {
    let fleet = Fleet::take().await;
    let next = fleet.release("1.1.0-test", &[]).await;
    let edit = |script: &'static str| {
        fleet.on_node("node-3", &["sed", "-i", script, "/etc/caddy/Caddyfile"])
    };
    edit("s|import /etc/caddy/togather|# &|")
        .run()
        .await
        .ended_with(0);
    let ran = fleet.roll_out(&next, &["--nodes", "all"]).run().await;
    edit("s|# import /etc/caddy/togather|import /etc/caddy/togather|")
        .run()
        .await
        .ended_with(0);
    ran.ended_with(1).saying("Caddyfile");
    fleet.assert_all_on(BASE).await;
}
