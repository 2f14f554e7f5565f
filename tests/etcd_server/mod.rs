//! A real etcd for tests: on loopback, with ports and a data folder of its own.
#![allow(dead_code, reason = "every test file uses a part of it")]

pub mod certificates;
pub mod gate;
pub mod proxy;
pub mod raw;

use std::fs::File;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use certificates::{Ca, Certified};
use raw::Raw;
use tempfile::TempDir;

/// A server and its data. It ends with the value.
pub struct EtcdServer {
    child: Option<Child>,
    name: String,
    /// All members, as etcd is told of them.
    members: String,
    folder: TempDir,
    port: u16,
    peer_port: u16,
    tls: Vec<String>,
    extra: Vec<String>,
}

/// Whether etcd is there. Without it tests are skipped, but never where CI must run them.
pub fn is_installed() -> bool {
    let found = Command::new("etcd")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok();
    if !found {
        let in_ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
        assert!(
            !in_ci,
            "etcd-server is not installed, and CI must run these tests"
        );
        say("skipped: etcd-server is not installed");
    }
    found
}

/// Says it to the person who runs the tests: the harness keeps what `eprintln` prints of a test
/// that passes.
pub fn say(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{text}");
}

impl EtcdServer {
    /// A plain server; `None` when etcd is not installed.
    pub async fn start() -> Option<Self> {
        Self::start_with(&[]).await
    }

    /// A plain server with more flags.
    pub async fn start_with(extra: &[&str]) -> Option<Self> {
        if !is_installed() {
            return None;
        }
        let mut server = Self::named("one", extra);
        server.members = server.as_member();
        server.launch();
        server.wait_until_up().await;
        Some(server)
    }

    /// A plain cluster of three members.
    pub async fn start_three() -> Option<[Self; 3]> {
        if !is_installed() {
            return None;
        }
        // Elections that do not wait for slow machines.
        let flags = ["--heartbeat-interval=50", "--election-timeout=500"];
        let mut three = ["one", "two", "three"].map(|name| Self::named(name, &flags));
        let members = three.each_ref().map(Self::as_member).join(",");
        for server in &mut three {
            server.members.clone_from(&members);
            server.launch();
        }
        for server in &mut three {
            server.wait_until_up().await;
        }
        Some(three)
    }

    fn named(name: &str, extra: &[&str]) -> Self {
        Self {
            child: None,
            name: name.to_owned(),
            members: String::new(),
            folder: tempfile::tempdir().unwrap(),
            port: free_port(),
            peer_port: free_port(),
            tls: Vec::new(),
            extra: extra.iter().map(ToString::to_string).collect(),
        }
    }

    fn as_member(&self) -> String {
        format!("{}=http://127.0.0.1:{}", self.name, self.peer_port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        let scheme = if self.tls.is_empty() { "http" } else { "https" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// Requests without the code under test; only while the server is plain.
    pub fn raw(&self) -> Raw {
        Raw::new(&self.url())
    }

    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub async fn start_again(&mut self) {
        self.launch();
        self.wait_until_up().await;
    }

    /// Starts anew with TLS, its data kept. Clients must show certificates of `clients`, if given.
    pub async fn restart_with_tls(&mut self, server: &Certified, clients: Option<&Ca>) {
        self.stop();
        let cert = self.file("server.pem", &server.certificate);
        let key = self.file("server-key.pem", &server.key);
        self.tls = vec![format!("--cert-file={cert}"), format!("--key-file={key}")];
        if let Some(ca) = clients {
            let ca = self.file("clients-ca.pem", &ca.pem());
            self.tls.push("--client-cert-auth".into());
            self.tls.push(format!("--trusted-ca-file={ca}"));
        }
        self.start_again().await;
    }

    /// Starts anew without TLS, its data kept.
    pub async fn restart_plain(&mut self) {
        self.stop();
        self.tls.clear();
        self.start_again().await;
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path: PathBuf = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn launch(&mut self) {
        let log = File::create(self.folder.path().join("log")).unwrap();
        let (client, peer) = (self.url(), format!("http://127.0.0.1:{}", self.peer_port));
        let data = self.folder.path().join("data");
        let child = Command::new("etcd")
            .env_clear()
            .arg(format!("--name={}", self.name))
            .arg(format!("--data-dir={}", data.display()))
            .arg(format!("--listen-client-urls={client}"))
            .arg(format!("--advertise-client-urls={client}"))
            .arg(format!("--listen-peer-urls={peer}"))
            .arg(format!("--initial-advertise-peer-urls={peer}"))
            .arg(format!("--initial-cluster={}", self.members))
            .args(&self.tls)
            .args(&self.extra)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    async fn wait_until_up(&mut self) {
        let begin = Instant::now();
        loop {
            // A TLS server is asked whether it takes connections; its data is what it was.
            let up = if self.tls.is_empty() {
                self.raw().is_up().await
            } else {
                tokio::net::TcpStream::connect(("127.0.0.1", self.port))
                    .await
                    .is_ok()
            };
            if up {
                return;
            }
            let ended = self.child.as_mut().unwrap().try_wait().unwrap().is_some();
            if ended || begin.elapsed() > Duration::from_secs(60) {
                let log = std::fs::read_to_string(self.folder.path().join("log"));
                panic!("etcd does not come up: {}", log.unwrap_or_default());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for EtcdServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A port that was free a moment ago: one that no outgoing connection is given, nor another test of
/// this program.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(61);
    let mut ports = std::iter::repeat_with(|| {
        let next = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        20_000 + u16::try_from(next % 12_000).unwrap()
    });
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    ports.find(is_free).unwrap()
}
