//! `allow.http` and `allow.files`: what they may say, and what a policy permits of it.

use std::path::Path;
use std::path::PathBuf;

use super::policy::judge_step;
use super::*;

fn allowing(allow: &str) -> String {
    with("wasm =", &format!("allow = {{ {allow} }}\nwasm ="))
}

#[test]
fn servers_methods_networks_and_folders_are_read() {
    let pipeline = ok(&allowing(
        "http = [\"https://tiers.internal\", \"http://*.a:81\"], http_networks = [\"10.0.0.0/8\"], http_methods = [\"POST\"], \
         http_body = \"64 KiB\", files = [\"/etc/tiers:ro\", \"/var/b\"]",
    ));
    let allow = &pipeline.steps[0].allow;
    let http = allow.http.as_ref().unwrap();
    let shown: Vec<String> = http.origins.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["https://tiers.internal", "http://*.a:81"]);
    assert_eq!((&http.methods[..], http.body_bytes), (&["POST".to_owned()][..], 64 << 10));
    assert_eq!(http.networks.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.0/8"]);
    assert_eq!(allow.files, ["/etc/tiers", "/var/b"].map(PathBuf::from));

    let plain = ok(&allowing("http = [\"https://a\"]"));
    let http = plain.steps[0].allow.http.as_ref().unwrap();
    assert_eq!((http.methods.join(" "), http.body_bytes, http.networks.len()), ("GET HEAD".to_owned(), 1 << 20, 0));
    assert_eq!(ok(&allowing("clock = true")).steps[0].allow.http, None);
}

#[test]
fn what_can_not_be_granted_is_named_with_its_place() {
    for (allow, message, help) in [
        ("http = [\"tiers.internal\"]", "`tiers.internal` can't be in `http`", "`https://tiers.internal:8443`"),
        ("http = [\"https://a/b\"]", "`https://a/b` can't be in `http`", "a path, a query or a user can't be granted"),
        ("http = \"https://a\"", "", "http = [\"https://tiers.internal\"]"),
        ("http = [\"https://a\"], http_networks = [\"10.0.0.0/99\"]", "can't be in `http_networks`", "`10.0.0.0/8`"),
        ("http = [\"https://a\"], http_methods = [\"get\"]", "`get` is not a method", "GET, HEAD, POST"),
        ("http = [\"https://a\"], http_methods = [\"CONNECT\"]", "`CONNECT` is not a method", "GET, HEAD, POST"),
        ("http = [\"https://a\"], http_body = \"1 GiB\"", "http_body", ""),
        ("http_networks = [\"10.0.0.0/8\"]", "`http_networks` has no effect without `http`", "list the servers"),
        ("files = [\"etc/tiers\"]", "`etc/tiers` can't be in `files`", "the absolute path of a folder"),
        ("files = [\"/etc/../tiers:ro\"]", "can't be in `files`", "the absolute path of a folder"),
        ("files = [\"/etc/tiers:rw\"]", "can't be in `files`", "can read files, and not write them"),
    ] {
        let found = Case::new().load(allowing(allow)).unwrap_err().to_string();
        assert!(found.contains(message) && found.contains(help) && found.contains("orders.toml:"), "{allow}: {found}");
    }
}

#[test]
fn a_policy_names_servers_networks_methods_and_folders() {
    let allow = "allow = { http = [\"https://tiers.orders.internal\"], http_networks = [\"10.1.0.0/16\"], files = [\"/usr/share\"] }";
    let rule = "http = [\"https://*.orders.internal\"], http_networks = [\"10.1.0.0/16\"], files = [\"/usr/*\"]";
    assert_eq!(judge_step(rule, allow), "");
    for (rule, allow, message) in [
        ("", allow, "the server `https://tiers.orders.internal` is not permitted"),
        ("", allow, "the folder `/usr/share` is not permitted"),
        ("http = [\"https://*.orders.internal\"]", allow, "the network `10.1.0.0/16` is not permitted"),
        (rule, "allow = { http = [\"http://tiers.orders.internal\"] }", "the server `http://tiers.orders.internal`"),
        (
            rule,
            "allow = { http = [\"https://a.orders.internal\"], http_methods = [\"GET\", \"POST\"] }",
            "the method `POST` is not permitted",
        ),
        (rule, "allow = { files = [\"/etc\"] }", "the folder `/etc` is not permitted"),
    ] {
        let found = judge_step(rule, allow);
        assert!(found.contains(message), "{rule}: {allow}: {found}");
    }
    assert!(Path::new("/usr/share").is_dir());
}
