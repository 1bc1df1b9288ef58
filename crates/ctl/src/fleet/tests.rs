use super::*;

const FLEET: &str = r#"# ours
schema: togather.fleet/fleet/v1
id: 01K00000000000000000000000
name: harbour
authority: authority/ca.crt
operator: { name: alice, certificate: a.crt, key: a.key, identity: id_ed25519 }
nodes:
  # the old machine in the attic
  - name: node-1
    id: 01K00000000000000000000001
    address: 192.0.2.1:7443
    labels: { place: attic }
  - name: "node-2" # rented
    id: 01K00000000000000000000002
    address: 192.0.2.2:7443
"#;

fn file(text: &str) -> (tempfile::TempDir, FleetFile) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fleet.yml");
    std::fs::write(&path, text).unwrap();
    let file = FleetFile::load(&path).unwrap();
    (folder, file)
}

fn names(nodes: &[Node]) -> Vec<&str> {
    nodes.iter().map(|node| node.name.as_str()).collect()
}

fn new_node(name: &str) -> Node {
    Node {
        name: name.parse().unwrap(),
        id: Ulid::from_parts(9, 9),
        address: "host:7443".into(),
        labels: [("place".to_owned(), "no".to_owned())].into(),
    }
}

#[test]
fn nodes_are_chosen_by_all_name_and_label_each_once() {
    let (_folder, file) = file(FLEET);
    let choose = |words: &[&str]| {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        file.choose(&words)
    };
    assert_eq!(names(&choose(&["all"]).unwrap()), ["node-1", "node-2"]);
    assert_eq!(
        names(&choose(&["node-2", "all"]).unwrap()),
        ["node-2", "node-1"]
    );
    assert_eq!(names(&choose(&["place=attic"]).unwrap()), ["node-1"]);
    let error = choose(&["node-3"]).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert_eq!(error.next, ["it has: node-1, node-2"]);
    assert_eq!(choose(&["place=cellar"]).unwrap_err().exit_code(), 2);
}

#[test]
fn adding_and_removing_keeps_the_comments() {
    let (_folder, mut file) = file(FLEET);
    file.add(new_node("node-3")).unwrap();
    file.remove("node-1").unwrap();
    let text = std::fs::read_to_string(&file.path).unwrap();
    assert!(text.contains("# the old machine in the attic"), "{text}");
    assert!(text.contains("\"node-2\" # rented"), "{text}");
    let again = FleetFile::load(&file.path).unwrap().fleet;
    assert_eq!(names(&again.nodes), ["node-2", "node-3"]);
    assert_eq!(again.nodes[1], new_node("node-3"));
}

#[test]
fn a_file_of_unusual_shape_is_written_anew_and_says_the_same() {
    let unusual = "{schema: togather.fleet/fleet/v1, id: 01K00000000000000000000000, name: f, \
        nodes: [{name: a, id: 01K00000000000000000000001, address: 'h:1'}], authority: ca.crt, \
        operator: {name: alice, certificate: c, key: k, identity: i}}";
    let (_folder, mut file) = file(unusual);
    file.add(new_node("b")).unwrap();
    file.remove("a").unwrap();
    let again = FleetFile::load(&file.path).unwrap().fleet;
    assert_eq!(again, file.fleet);
    assert_eq!(names(&again.nodes), ["b"]);
    file.remove("b").unwrap();
    assert!(FleetFile::load(&file.path).unwrap().fleet.nodes.is_empty());
}

#[test]
fn a_wrong_file_says_where_it_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fleet.yml");
    for (text, words) in [
        (
            FLEET.replace("labels: { place", "lables: { place"),
            "line 12",
        ),
        (
            FLEET.replace("fleet/fleet/v1", "fleet/fleet/v2"),
            "expected `togather.fleet/fleet/v1`",
        ),
        (
            FLEET.replace("\"node-2\"", "node-1"),
            "`node-1` is there twice",
        ),
        (
            FLEET.replace("name: node-1", "name: Node_1"),
            "is not a name",
        ),
        ("nodes: [".to_owned(), "line 1"),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = FleetFile::load(&path).unwrap_err();
        assert_eq!(error.exit_code(), 10);
        assert!(error.what.contains("fleet.yml"), "{error}");
        assert!(error.to_string().contains(words), "{words}: {error}");
    }
}

#[test]
fn an_address_is_a_host_and_a_port() {
    assert_eq!(address("host").unwrap(), "host:7443");
    assert_eq!(address("192.0.2.1:99").unwrap(), "192.0.2.1:99");
    assert_eq!(address("[::1]").unwrap(), "[::1]:7443");
    assert_eq!(address("[::1]:99").unwrap(), "[::1]:99");
    for bad in [
        "",
        ":1",
        "host:",
        "host:0",
        "host:99999",
        "http://host:1",
        "a b:1",
        "::1",
    ] {
        assert!(address(bad).is_err(), "{bad}");
    }
}
