//! What happens on the way of a run while it cannot be asked: a controller that puts things back, a
//! cluster that answers no more, somebody who presses Ctrl-C.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::double::{Double, Fault, Shape, When};
use super::place::{Place, Run, What};

const HEPS: &str = "hostendpoints.projectcalico.org";
const LABEL: &str = "allowed-typha-client";

async fn native() -> Place {
    Place::new(What::Kubernetes(Shape::NativeV3), "v3.32.1")
        .await
        .unwrap()
}

fn spawn(place: &Place, line: &str) -> Child {
    let mut command = place.command(line);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn end(child: Child) -> Run {
    let output = child.wait_with_output().unwrap();
    Run {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Sends a signal; that it comes too late is no matter.
fn signal(child: &Child, signal: &str) {
    let pid = child.id().to_string();
    let sent = std::process::Command::new("kill")
        .args([signal, &pid])
        .output();
    assert!(sent.is_ok(), "{sent:?}");
}

/// Hears what a run says beside its result, while it says it.
fn listen(child: &mut Child) -> Arc<Mutex<String>> {
    let (said, mut stream) = (
        Arc::new(Mutex::new(String::new())),
        child.stderr.take().unwrap(),
    );
    let heard = Arc::clone(&said);
    std::thread::spawn(move || {
        let mut piece = [0; 1024];
        while let Ok(read @ 1..) = stream.read(&mut piece) {
            let piece = String::from_utf8_lossy(&piece[..read]);
            heard.lock().unwrap().push_str(&piece);
        }
    });
    said
}

/// Waits until something has happened.
async fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !happened() {
        assert!(begin.elapsed() < Duration::from_secs(120), "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Files of the journal with an ending.
fn journal(place: &Place, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![place.dir().join(".local/state/calicoctl-protect")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == ending) {
                found.push(path);
            }
        }
    }
    found
}

/// The runs that the history tells of, and how they stand.
fn states(place: &Place) -> Vec<String> {
    let history = place.does("history -o json").json();
    let runs = history["runs"].as_array().unwrap().iter();
    runs.map(|run| run["state"].as_str().unwrap().to_owned())
        .collect()
}

/// Takes the label off an object again, as a controller with a name does.
fn take_off(double: &Double, resource: &str, name: &str, manager: &str) {
    let mut object = double.get(resource, name).unwrap();
    let version = object["apiVersion"].clone();
    let metadata = object["metadata"].as_object_mut().unwrap();
    metadata.shift_remove("resourceVersion");
    let labels = metadata["labels"].as_object_mut().unwrap();
    assert!(labels.shift_remove(LABEL).is_some(), "no label came");
    metadata.insert(
        "managedFields".into(),
        json!([{"manager": manager, "operation": "Update", "fieldsType": "FieldsV1",
            "apiVersion": version, "time": "2026-11-29T10:00:00Z",
            "fieldsV1": {"f:metadata": {"f:labels": {}}}}]),
    );
    double.load([object]);
}

#[tokio::test]
async fn a_label_that_a_controller_takes_off_again_is_a_failure_that_names_it() {
    for (host, resource, object, shown, owner) in [
        (
            "w-1",
            HEPS,
            "w-1-eth0",
            "HostEndpoint/w-1-eth0",
            "kube-controllers",
        ),
        // By the Node, whose labels kube-controllers copies to the automatic host endpoint.
        ("w-3", "nodes", "w-3", "Node/w-3", "cloud-node-manager"),
    ] {
        let place = native().await;
        let before = place.stored().await;
        // The label takes effect at once; the answer that says so comes later.
        let (held, gate) = Fault::held();
        place.double().fault(When::write().and_path(object), held);
        let child = spawn(&place, &format!("grant typha --node {host} --yes"));
        gate.reached().await;
        take_off(place.double(), resource, object, owner);
        gate.open();
        let run = end(child);
        assert_eq!(run.code, 6, "{run}");
        run.says("error: 1 object did not stay as written")
            .says(&format!(
                "{shown}: metadata.labels.{LABEL} is not as written; probably put back by field manager `{owner}`"
            ));
        assert_eq!(states(&place), ["partly"], "{run}");
        place.double().clear_faults();
        place.does("undo --yes");
        assert_eq!(place.stored().await, before, "{shown}");
    }
}

/// Whether a run waits to be confirmed.
fn waits(place: &Place) -> bool {
    let texts = journal(place, "jsonl").into_iter();
    let mut texts = texts.map(std::fs::read_to_string);
    texts.any(|text| text.is_ok_and(|text| text.contains("{\"awaiting\"")))
}

#[tokio::test]
async fn where_the_cluster_answers_no_more_within_the_window_the_run_is_taken_back() {
    let place = native().await;
    let before = place.stored().await;
    let child = spawn(
        &place,
        "grant typha --node w-1 --net 198.51.100.0/28 --yes --confirm-within 1m",
    );
    until("the run does not wait", || waits(&place)).await;
    assert_ne!(place.stored().await, before);
    place.double().fault(When::any(), Fault::CutBefore);
    until("the run still waits", || {
        !journal(&place, "verdict").is_empty()
    })
    .await;
    place.double().clear_faults();
    let run = end(child);
    assert_eq!(run.code, 1, "{run}");
    run.says("warning: the cluster does not answer any more (")
        .says("it is taken back, and that is read back and proved");
    assert_eq!(place.stored().await, before, "{run}");
    assert_eq!(states(&place), ["undone", "done"], "{run}");
}

/// A run in a window, whose cluster answers no more once it waits, and then ends its waiting: it is
/// taken back when the cluster answers again.
async fn ended_while_nothing_answers(window: &str, sent: Option<&str>, why: &str) {
    let place = native().await;
    let before = place.stored().await;
    let line = "grant typha --node w-1 --net 198.51.100.0/28 --yes --confirm-within";
    let child = spawn(&place, &format!("{line} {window}"));
    until("the run does not wait", || waits(&place)).await;
    place.double().fault(When::any(), Fault::CutBefore);
    if let Some(name) = sent {
        signal(&child, name);
    }
    until("the run still waits", || {
        !journal(&place, "verdict").is_empty()
    })
    .await;
    // Its first try to take back is in vain.
    tokio::time::sleep(Duration::from_millis(100)).await;
    place.double().clear_faults();
    let run = end(child);
    assert_eq!(run.code, 1, "{run}");
    run.says(&format!("warning: {why}: run "))
        .says("it is taken back, and that is read back and proved");
    assert_eq!(place.stored().await, before, "{run}");
    assert_eq!(states(&place), ["undone", "done"], "{run}");
}

#[tokio::test]
async fn a_run_that_nobody_confirms_is_taken_back_once_the_cluster_answers_again() {
    ended_while_nothing_answers("3s", None, "not confirmed within 3s").await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_run_that_is_stopped_while_the_cluster_does_not_answer_is_taken_back_once_it_does() {
    for signal in ["-HUP", "-TERM"] {
        let why = "interrupted before it was confirmed";
        ended_while_nothing_answers("1h", Some(signal), why).await;
    }
}

#[cfg(unix)]
#[tokio::test]
async fn while_the_cluster_does_not_answer_it_is_said_once_how_long_taking_back_is_tried_and_what_else_helps()
 {
    let place = native().await;
    let before = place.stored().await;
    let mut child = spawn(&place, "grant typha --node w-1 --yes --confirm-within 1h");
    let said = listen(&mut child);
    until("the run does not wait", || waits(&place)).await;
    place.double().fault(When::any(), Fault::CutBefore);
    signal(&child, "-TERM");
    let told = "is not taken back yet, which is tried until ";
    until("nothing is said", || said.lock().unwrap().contains(told)).await;
    // It goes on trying, in silence.
    let asked = place.double().requests().len();
    until("it tries no more", || {
        place.double().requests().len() > asked
    })
    .await;
    until("Ctrl-C is not heard", || {
        signal(&child, "-INT");
        child.try_wait().unwrap().is_some()
    })
    .await;
    let run = end(child);
    assert_eq!(run.code, 6, "{run}");
    let said = said.lock().unwrap().clone();
    assert_eq!(said.matches(told).count(), 1, "{said}");
    place.double().clear_faults();
    let runs = place.does("history -o json").json();
    let id = runs["runs"][0]["id"].as_str().unwrap();
    for words in [
        &format!("warning: run {id} {told}20"),
        &format!(
            "hint: Ctrl-C ends the trying; `calicoctl-protect undo {id}` takes it back at any later time\n"
        ),
        &format!("error: run {id} is written and could not be taken back: stopped by Ctrl-C\n"),
        &format!("hint: `calicoctl-protect undo {id}` tries again\n"),
    ] {
        assert!(said.contains(words.as_str()), "no `{words}` in\n{said}");
    }
    place.does(&format!("undo {id} --yes"));
    assert_eq!(place.stored().await, before, "{run}");
}

/// So many hosts that their labels cannot all be on their way at once.
const MANY: usize = 200;

fn hosts() -> Vec<Value> {
    let host = |n: usize| {
        let (name, ip) = (format!("many-{n:03}"), format!("192.0.2.{}", n + 30));
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
            "status": {"addresses": [{"type": "InternalIP", "address": ip}]}});
        let hep = json!({"apiVersion": "projectcalico.org/v3", "kind": "HostEndpoint",
            "metadata": {"name": format!("{name}-eth0"), "labels": {"node": name}},
            "spec": {"node": name, "interfaceName": "eth0", "expectedIPs": [ip],
                "profiles": ["projectcalico-default-allow"]}});
        [node, hep]
    };
    (0..MANY).flat_map(host).collect()
}

#[tokio::test]
async fn ctrl_c_lets_what_is_on_its_way_arrive_and_begins_no_more() {
    for way in ["apply --resume", "undo"] {
        let place = native().await;
        place.load(hosts());
        let double = place.double();
        let before = place.stored().await;
        let (held, gate) = Fault::held();
        double.fault(When::write().and_path("hostendpoints"), held);
        let child = spawn(&place, "grant typha --all-nodes --yes");
        let writes = || double.requests().iter().filter(|r| r.is_write()).count();
        gate.reached().await;
        let interrupted = std::process::Command::new("kill")
            .args(["-INT", &child.id().to_string()])
            .status();
        assert!(interrupted.unwrap().success());
        // Time to hear it, while nothing else can be begun.
        tokio::time::sleep(Duration::from_secs(1)).await;
        gate.open();
        let run = end(child);
        assert_eq!(run.code, 6, "{run}");
        run.says("written, then: interrupted")
            .says("`calicoctl-protect apply --resume ");
        let labelled = |heps: Vec<Value>| {
            let labels = heps
                .into_iter()
                .map(|hep| hep["metadata"]["labels"].clone());
            labels.filter(|labels| labels.get(LABEL).is_some()).count()
        };
        let there = labelled(double.list(HEPS));
        assert!(0 < there && there < MANY, "{there} labels\n{run}");
        run.says(&format!("error: {} of ", writes()));
        double.clear_faults();
        let list = place.does("history -o json").json();
        let id = list["runs"][0]["id"].as_str().unwrap();
        place.does(&format!("{way} {id} --yes"));
        if way == "undo" {
            assert_eq!(place.stored().await, before);
        } else {
            place.does("grant typha --all-nodes").says("nothing to do");
        }
    }
}
