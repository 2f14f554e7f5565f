//! Bad input and bad weather, as a user meets them: words, hint, exit code, and nothing lost.

use serde_json::{Value, json};

use super::double::{ADMIN_TOKEN, Credentials, Double, Fault, Grant, Shape, When};
use super::place::{Place, Run, What};

const GRANT: &str = "grant typha --net 198.51.100.0/28 --node w-1 --yes";

async fn native() -> Place {
    Place::new(What::Kubernetes(Shape::NativeV3), "v3.32.1")
        .await
        .unwrap()
}

/// The kubeconfig with a change.
fn set_up(place: &Place, change: impl FnOnce(&mut Value)) {
    let path = place.kubeconfig();
    let text = std::fs::read_to_string(&path).unwrap();
    let mut config: Value = serde_yaml::from_str(&text).unwrap();
    change(&mut config);
    std::fs::write(path, config.to_string()).unwrap();
}

/// Runs the grant, which must end with this exit code, in these words, with nothing written.
async fn refused(place: &Place, code: i32, says: &[&str]) -> Run {
    let before = place.stored().await;
    let run = place.run(GRANT);
    assert_eq!(run.code, code, "{says:?}\n{run}");
    assert!(
        run.err.contains("error: ") && run.err.contains("hint: "),
        "{run}"
    );
    for text in says {
        run.says(text);
    }
    assert_eq!(place.stored().await, before, "{says:?}");
    run
}

fn exec(command: &str) -> Value {
    json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": command,
        "args": ["-c", "echo not-logged-in >&2; exit 3"], "interactiveMode": "Never",
        "installHint": "get it from example.org"}})
}

#[tokio::test]
async fn the_proxy_of_the_environment_is_not_for_servers_on_this_machine() {
    let place = native().await;
    let mut command = place.command("status");
    for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"] {
        command.env(name, "http://127.0.0.1:1");
    }
    let run = Run::of(&mut command);
    assert_eq!(run.code, 0, "{run}");
}

#[tokio::test]
async fn certificates_and_credentials_that_do_not_hold() {
    let other = Double::builder(Shape::NativeV3).start();
    let place = native().await;
    let good = std::fs::read_to_string(place.kubeconfig()).unwrap();
    let wrong_ca = place.dir().join("other.crt");
    std::fs::write(&wrong_ca, other.ca()).unwrap();
    set_up(&place, |c| {
        c["clusters"][0]["cluster"]["certificate-authority"] = json!(wrong_ca)
    });
    refused(&place, 1, &["is not signed by the CA that is trusted here"]).await;
    let user = |to: Value| move |c: &mut Value| c["users"][0]["user"] = to;
    for (credentials, says) in [
        (
            json!({"token": "expired"}),
            "does not accept the credentials",
        ),
        (
            exec("no-such-plugin"),
            "credential plugin `no-such-plugin` cannot be run",
        ),
        (
            exec("/bin/sh"),
            "credential plugin `/bin/sh` failed (exit status: 3)",
        ),
        (
            json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "/bin/sh",
                "interactiveMode": "Always"}}),
            "credential plugin `/bin/sh` wants to ask, but there is no terminal",
        ),
    ] {
        std::fs::write(place.kubeconfig(), &good).unwrap();
        set_up(&place, user(credentials));
        refused(&place, 1, &[says]).await;
    }
}

#[tokio::test]
async fn a_token_that_expires_before_the_first_write() {
    let place = native().await;
    place
        .double()
        .kubeconfig_with(place.dir(), &Credentials::Token(ADMIN_TOKEN.into()));
    // It is good for reading; the first question about writing comes too late.
    let late = When::method("POST").and_path("selfsubjectaccessreviews");
    place.double().fault(late, Fault::Unauthorized);
    let writes = When::method("PATCH");
    place.double().fault(writes, Fault::Unauthorized);
    place.double().fault(
        When::method("POST").and_path("globalnetworksets"),
        Fault::Unauthorized,
    );
    refused(
        &place,
        1,
        &["does not accept the credentials", "log in again"],
    )
    .await;
}

#[tokio::test]
async fn servers_that_are_not_there_or_are_something_else() {
    let place = native().await;
    let free = super::etcd_server::free_port();
    let url = format!("https://127.0.0.1:{free}");
    set_up(&place, |c| {
        c["clusters"][0]["cluster"]["server"] = json!(url)
    });
    refused(
        &place,
        1,
        &[
            &format!("no connection to `{url}`"),
            "is the server running",
        ],
    )
    .await;

    let proxy = format!("http://127.0.0.1:{free}");
    let place = native().await;
    set_up(&place, |c| {
        c["clusters"][0]["cluster"]["proxy-url"] = json!(proxy)
    });
    refused(
        &place,
        1,
        &["no connection to", "check `proxy-url` of the kubeconfig"],
    )
    .await;
}

#[tokio::test]
async fn what_is_forbidden_is_named_with_the_rule_that_allows_it() {
    for (verb, resource, rule) in [
        ("create", "globalnetworksets", "verbs: [\"create\"]"),
        (
            "patch",
            "hostendpoints",
            "resources: [\"hostendpoints\"], verbs: [\"patch\"]",
        ),
        (
            "list",
            "hostendpoints",
            "resources: [\"hostendpoints\"], verbs: [\"list\"]",
        ),
    ] {
        let place = native().await;
        place.double().deny(verb, resource);
        let says = format!("you are not allowed to {verb} `{resource}.projectcalico.org`");
        refused(
            &place,
            1,
            &[&says, "apiGroups: [\"projectcalico.org\"]", rule],
        )
        .await;
    }
}

#[tokio::test]
async fn an_annotation_that_is_no_json_stops_before_anything_is_planned() {
    let place = Place::new(What::Kubernetes(Shape::LegacyV1), "v3.28.5")
        .await
        .unwrap();
    place.double().load([json!({"apiVersion": "crd.projectcalico.org/v1", "kind": "HostEndpoint",
        "metadata": {"name": "broken", "annotations": {"projectcalico.org/metadata": "{"}}, "spec": {}})]);
    refused(
        &place,
        1,
        &[
            "HostEndpoint/broken: annotation `projectcalico.org/metadata` cannot be read",
            "kubectl edit",
        ],
    )
    .await;
}

/// Starts a grant, waits until its dry run is under way, and does something behind its back.
async fn meanwhile(place: &Place, line: &str, act: impl FnOnce(&Double)) -> Run {
    let (double, (held, gate)) = (place.double(), Fault::held());
    let dry_run = When::method("PATCH").and_query("dryRun=All");
    let dry_run = dry_run.and_path("/hostendpoints/");
    double.fault(dry_run, held);
    let mut command = place.command(line);
    let running = tokio::task::spawn_blocking(move || Run::of(&mut command));
    gate.reached().await;
    act(double);
    gate.open();
    running.await.unwrap()
}

#[tokio::test]
async fn an_object_that_is_changed_or_deleted_before_it_is_written() {
    let heps = "hostendpoints.projectcalico.org";
    let change = |double: &Double| {
        let mut hep = double.get(heps, "w-1-eth0").unwrap();
        hep["metadata"]
            .as_object_mut()
            .unwrap()
            .shift_remove("resourceVersion");
        hep["metadata"]["labels"]["by"] = json!("somebody-else");
        double.load([hep]);
    };
    let delete = |double: &Double| double.remove(heps, "w-1-eth0");
    let place = native().await;
    let run = meanwhile(&place, GRANT, change).await;
    // The plan still means the same: it is proved again and goes on.
    assert_eq!(run.code, 0, "{run}");
    run.says("HostEndpoint/w-1-eth0 was changed since it was read")
        .says("done: ");
    let hep = place.double().get(heps, "w-1-eth0").unwrap();
    assert_eq!(hep["metadata"]["labels"]["by"], "somebody-else");
    assert_eq!(hep["metadata"]["labels"]["allowed-typha-client"], "true");
    let place = native().await;
    conflict(
        &meanwhile(&place, GRANT, delete).await,
        "HostEndpoint/w-1-eth0 is not there any more",
    );
    assert!(place.double().get(heps, "w-1-eth0").is_none());
}

#[tokio::test]
async fn a_host_that_goes_away_before_it_is_written_is_no_wrong_usage() {
    let place = native().await;
    let delete = |double: &Double| {
        double.remove("hostendpoints.projectcalico.org", "w-1-eth0");
        double.remove("nodes", "w-1");
    };
    let run = meanwhile(&place, "grant typha --node w-1 --yes", delete).await;
    assert_eq!(run.code, 4, "{run}");
    run.says("HostEndpoint/w-1-eth0 is not there any more")
        .says("; the command makes no plan any more: unknown node `w-1`")
        .says("hint: nodes here: ");
}

/// Another writer: exit code 4 with nothing written, 6 where other objects of the same stage were
/// on their way already.
fn conflict(run: &Run, says: &str) {
    assert!(matches!(run.code, 4 | 6), "{run}");
    run.says(says).says("hint: ");
}

#[tokio::test]
async fn a_server_that_restarts_in_the_middle() {
    // It is back in time: the run goes on.
    let place = native().await;
    let answer_lost = When::method("PATCH")
        .and_path("/hostendpoints/")
        .from(2)
        .times(1);
    place.double().fault(answer_lost, Fault::CutAfter);
    place.does(GRANT).says("done: ");
    // It does not come back: what was written is told, and another run goes on from there.
    let place = native().await;
    for method in ["PATCH", "GET"] {
        let real = When::method(method).and_path("/hostendpoints/");
        let real = if method == "PATCH" {
            real.from(2)
        } else {
            real
        };
        place.double().fault(real, Fault::CutBefore);
    }
    let run = place.run(GRANT);
    assert!(matches!(run.code, 1 | 6), "{run}");
    run.says("error: ").says("hint: ");
    place.double().clear_faults();
    place.does(GRANT);
    place.does(GRANT).says("nothing to do");
}

#[tokio::test]
async fn who_has_few_rights_is_told_all_that_is_missing_at_once() {
    let place = native().await;
    let double = place.double();
    double.token("few", "eve", &[]);
    double.grant(Grant::new("eve", &["get", "list"], &["*"], &["*"]));
    double.kubeconfig_with(place.dir(), &Credentials::Token("few".into()));
    let run = refused(&place, 1, &["you are not allowed to "]).await;
    run.says("also: you are not allowed to ");
}

#[tokio::test]
async fn an_etcd_that_is_not_calicos_or_not_for_this_user() {
    let Some(place) = Place::new(What::Etcd, "v3.32.1").await else {
        return;
    };
    let raw = place.etcd().raw();
    // A value that does not parse is Calico's to skip, and is told.
    let broken = "/calico/resources/v3/projectcalico.org/hostendpoints/broken";
    raw.put(broken, "{\"kind\":").await;
    let run = place.does("grant typha --net 198.51.100.0/28 --dry-run");
    run.says("hostendpoints/broken` cannot be read");
    raw.delete(broken).await;

    let key = "/calico/resources/v3/projectcalico.org/clusterinformations/default";
    let information = raw.get(key).await.unwrap().text();
    raw.delete(key).await;
    refused(
        &place,
        1,
        &["holds no datastore of Calico's", "ETCD_ENDPOINTS"],
    )
    .await;
    raw.put(key, information).await;

    raw.turn_users_on().await;
    let as_user = |user: &str, password: &str| {
        let mut command = place.command(GRANT);
        command
            .env("ETCD_USERNAME", user)
            .env("ETCD_PASSWORD", password);
        Run::of(&mut command)
    };
    for (user, password, says) in [
        (
            "nobody",
            "nobody-secret",
            "etcd user `nobody` may not access",
        ),
        (
            "reader",
            "reader-secret",
            "etcd user `reader` may not access",
        ),
        (
            "calico",
            "wrong",
            "etcd refuses the password of etcd user `calico`",
        ),
    ] {
        let run = as_user(user, password);
        assert_eq!(run.code, 1, "{run}");
        run.says(says).says("hint: ");
    }
    let run = as_user("calico", "calico-secret");
    assert_eq!(run.code, 0, "{run}");
}
