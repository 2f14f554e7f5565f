//! What went wrong, in words that say what to do.

use std::error::Error;
use std::time::Duration;

use serde::Deserialize;
use tower::BoxError;

use super::access;
use super::kubeconfig;
use super::resource::Resource;
use super::transport::Answer;
use crate::store::{StoreError, StoreErrorKind};

/// A request that got no answer.
#[derive(Debug)]
pub(super) struct Trouble {
    /// For the user.
    pub error: StoreError,
    /// Whether the server may have got the request.
    pub may_have_arrived: bool,
    passing: bool,
}

/// What the words depend on.
pub(super) struct Context<'c> {
    pub server: &'c str,
    /// The proxy in between, for people.
    pub proxy: Option<&'c str>,
    /// Whether the server answered before.
    pub reached: bool,
    /// Whether this side shows a client certificate.
    pub shows_certificate: bool,
}

impl Trouble {
    /// Whether the same request may well succeed later.
    pub fn is_passing(&self) -> bool {
        self.passing
    }

    /// A failure before anything was sent.
    pub fn fatal(error: StoreError) -> Self {
        Self {
            error,
            may_have_arrived: false,
            passing: false,
        }
    }

    /// No answer in time.
    pub fn late(context: &Context<'_>, patience: Duration) -> Self {
        Self {
            error: failed(format!(
                "`{}` did not answer within {} s",
                context.server,
                patience.as_secs_f32()
            ))
            .hint("is the server overloaded, or the network slow?"),
            may_have_arrived: true,
            passing: context.reached,
        }
    }

    /// A connection that was not made, or was lost.
    pub fn of_transport(context: &Context<'_>, error: &BoxError) -> Self {
        let server = context.server;
        if let Some(error) = find::<kube::client::AuthError>(error.as_ref()) {
            return Self::fatal(of_credentials(error));
        }
        if let Some(tls) = find::<rustls::Error>(error.as_ref()) {
            return Self::fatal(of_tls(server, tls));
        }
        let connecting =
            find::<reqwest::Error>(error.as_ref()).is_some_and(reqwest::Error::is_connect);
        let cut = find::<std::io::Error>(error.as_ref())
            .is_some_and(|error| error.kind() == std::io::ErrorKind::UnexpectedEof);
        let chain = reasons(error.as_ref());
        // From TLS 1.3 on a server tells only after the handshake what it thinks of the client, and
        // the error has lost its type by then.
        if chain.contains("received fatal alert") {
            return Self {
                error: failed(format!("no TLS with `{server}`: {chain}")).hint(THIS_SIDE),
                may_have_arrived: true,
                passing: context.reached,
            };
        }
        if !connecting {
            let why = match cut {
                true => "it was closed before the answer was complete".to_owned(),
                false => chain,
            };
            // A refusal of the certificate may be lost with the connection that it ends.
            let hint = match context.shows_certificate && !context.reached {
                true => format!("{ENDED} if it stays so, {THIS_SIDE}"),
                false => format!("{ENDED} try again"),
            };
            return Self {
                error: failed(format!("the connection to `{server}` was lost: {why}")).hint(hint),
                may_have_arrived: true,
                passing: true,
            };
        }
        // Connections to a proxy fail in their own words; reqwest gives them no type.
        let tunnel = ["tunnel", "proxy", "SOCKS"]
            .iter()
            .any(|word| chain.contains(word));
        let error = match context.proxy {
            Some(proxy) => failed(format!(
                "no connection to `{server}` through the proxy `{proxy}`: {chain}"
            )),
            None => failed(format!("no connection to `{server}`: {chain}")),
        };
        let error = if chain.contains("authorization required") {
            error.hint("the proxy wants a user and a password: `proxy-url: http://USER:PASSWORD@HOST:PORT` in the kubeconfig, or `HTTPS_PROXY`")
        } else if tunnel || context.proxy.is_some() {
            error.hint("the proxy did not let it through: check `proxy-url` of the kubeconfig, `HTTPS_PROXY` and `NO_PROXY`")
        } else if chain.contains("DNS") || chain.contains("dns") {
            error.hint("check the server's name in the kubeconfig, and this machine's DNS")
        } else if cut || chain.contains("handshake eof") {
            error.hint(NO_TLS)
        } else {
            error.hint("is the server running, and can this machine reach it?")
        };
        Self {
            error,
            may_have_arrived: false,
            passing: context.reached && !tunnel,
        }
    }
}

const ENDED: &str =
    "did the server restart, or does a proxy or load balancer on the way end connections?";
const THIS_SIDE: &str = "the server refuses this side of TLS: is the client certificate one that it knows, and has it not expired?";
const NO_TLS: &str = "does the URL begin with `https://` where the server speaks HTTP?";

fn of_tls(server: &str, error: &rustls::Error) -> StoreError {
    use rustls::CertificateError as C;
    let rustls::Error::InvalidCertificate(why) = error else {
        let shown = failed(format!("no TLS with `{server}`: {error}"));
        return match error {
            rustls::Error::AlertReceived(_) => shown.hint(THIS_SIDE),
            _ => shown.hint(NO_TLS),
        };
    };
    let certificate = |what: String| failed(format!("the certificate of `{server}` {what}"));
    match why {
        C::Expired | C::ExpiredContext { .. } => certificate("has expired".into())
            .hint("renew it (kubeadm: `kubeadm certs renew apiserver`), or set this machine's clock"),
        C::NotValidYet | C::NotValidYetContext { .. } => certificate("is not valid yet".into())
            .hint("is this machine's clock right?"),
        C::UnknownIssuer | C::BadSignature => certificate("is not signed by the CA that is trusted here".into())
            .hint("is this the right cluster? its CA belongs into `certificate-authority-data` of the kubeconfig, or `K8S_CA_FILE`"),
        C::NotValidForName | C::NotValidForNameContext { .. } => certificate("is for other names".into())
            .hint("use a name that the certificate has, or set `tls-server-name` in the kubeconfig"),
        other => certificate(format!("is not accepted: {other}")),
    }
}

/// Messages may hold the output of a program, which is the credential: none is shown.
fn of_credentials(_: &kube::client::AuthError) -> StoreError {
    failed("the kubeconfig's credentials cannot be used")
        .hint("does `kubectl get nodes` work with them?")
}

/// An error of kube's before there is a connection.
pub(super) fn of_setup(error: &kube::Error) -> StoreError {
    match error {
        kube::Error::Auth(error) => of_credentials(error),
        kube::Error::InferKubeconfig(error) => kubeconfig::said(error, "the kubeconfig"),
        kube::Error::RustlsTls(error) => failed(format!(
            "the certificates of the kubeconfig cannot be used: {}",
            chain(error)
        ))
        .hint("client certificate and key must be PEM and belong together; the certificate of X.509 version 3, the key without a passphrase"),
        other => failed(format!("the kubeconfig cannot be used: {}", chain(other))),
    }
}

/// The part of a `Status` that people need.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    pub reason: String,
    pub message: String,
}

impl Status {
    /// What the server says; not every refusal is a `Status`.
    pub fn of(answer: &Answer) -> Self {
        serde_json::from_slice(&answer.body)
            .ok()
            .filter(|status: &Self| !status.message.is_empty())
            .unwrap_or_else(|| Self {
                reason: String::new(),
                message: in_words(answer),
            })
    }
}

/// What to do about a web page in the place of an API server's answer.
pub(super) const WEB_PAGE: &str = "a proxy or login page seems to be in between: check `server` and `proxy-url` of the kubeconfig, `HTTPS_PROXY` and `NO_PROXY`";

/// Whether something else than an API server has answered: a proxy, or the login page of a network.
pub(super) fn is_web_page(answer: &Answer) -> bool {
    let is_redirect = (300..400).contains(&answer.status) && answer.status != 304;
    is_redirect || answer.body.trim_ascii_start().starts_with(b"<")
}

/// An answer that is no `Status`. Of a web page only the title is told: there may be anything in it,
/// also what identifies a session.
fn in_words(answer: &Answer) -> String {
    let text = String::from_utf8_lossy(&answer.body);
    if !is_web_page(answer) {
        return one_line(&text);
    }
    let title = text.split_once("<title>");
    let title = title.and_then(|(_, rest)| rest.split_once("</title>"));
    match title.map(|(title, _)| one_line(title)) {
        Some(title) if !title.is_empty() => format!("a web page (`{title}`)"),
        _ if answer.body.is_empty() => "a redirection".to_owned(),
        _ => "a web page".to_owned(),
    }
}

/// The words for an answer that ends what was meant to `verb` a resource.
pub(super) fn of_answer(
    server: &str,
    answer: &Answer,
    verb: &str,
    resource: &Resource,
) -> StoreError {
    let said = one_line(&Status::of(answer).message);
    if is_web_page(answer) {
        return failed(format!(
            "`{server}` did not {verb} {resource} but answered {} with {said}",
            answer.status
        ))
        .hint(WEB_PAGE);
    }
    let tried = |error: StoreError| match answer.tries {
        ..=1 => error,
        tries => error.detail(format!("asked {tries} times")),
    };
    match answer.status {
        401 => failed(format!("`{server}` does not accept the credentials")).hint(
            "the token or certificate may have expired: log in again; `kubectl auth whoami` shows who you are",
        ),
        403 if is_of_admission(&said) => {
            failed(format!("admission refuses to {verb} {resource}: {said}")).hint(
                "a rule of the cluster's own stands in the way; where the server has just been started it may not be ready: try again",
            )
        }
        403 => {
            let by_tier = resource.kind.and_then(access::by_tier);
            let resource = match &by_tier {
                // Calico's own API server speaks of the tier where rights in it are missing.
                Some(by_tier) if ["in tier", "tiered policy"].iter().any(|w| said.contains(w)) => by_tier,
                _ => resource,
            };
            forbidden(verb, resource, None).detail(format!("the server says: {said}"))
        }
        429 => tried(failed(format!("`{server}` is too busy: {said}")).hint("try again later")),
        502..=504 => tried(failed(format!("`{server}` is not available to {verb} {resource}: {said}")))
            .hint(if resource.group == "projectcalico.org" {
                "is calico-apiserver, or Calico's admission webhook, running?"
            } else {
                "try again later"
            }),
        status => failed(format!(
            "`{server}` refused to {verb} {resource} ({status}): {said}"
        )),
    }
}

/// Whether a refusal comes from a policy or webhook of admission rather than from a missing right:
/// both are answered with 403, and only their words tell them apart.
fn is_of_admission(said: &str) -> bool {
    ["denied request", "denied the request"]
        .iter()
        .any(|words| said.contains(words))
}

/// What is not allowed, and the rule that would allow it.
pub(super) fn forbidden(verb: &str, resource: &Resource, namespace: Option<&str>) -> StoreError {
    let place = namespace.map(|ns| format!(" in namespace `{ns}`"));
    let role = if namespace.is_some() {
        "a Role"
    } else {
        "a ClusterRole"
    };
    failed(format!(
        "you are not allowed to {verb} {resource}{}",
        place.unwrap_or_default()
    ))
    .hint(format!(
        "{role} of yours needs this rule: {{apiGroups: [\"{}\"], resources: [\"{}\"], verbs: [\"{verb}\"]}}",
        resource.group, resource.plural
    ))
}

pub(super) fn failed(message: impl Into<String>) -> StoreError {
    StoreError::new(StoreErrorKind::Failed, message)
}

pub(super) fn conflict(message: impl Into<String>) -> StoreError {
    StoreError::new(StoreErrorKind::Conflict, message)
        .hint("somebody else is at work: look at the new state and run the command again")
}

/// Text of a server in one line of bearable length.
pub(super) fn one_line(text: &str) -> String {
    const LONGEST: usize = 600;
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

/// The first error of a type in a chain of causes, looked for inside I/O errors as well, which
/// hide what they wrap.
fn find<'e, E: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        if let Some(inner) = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref)
            && let Some(found) = find::<E>(inner)
        {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// The last words of a chain of causes: those in front repeat the URL, or say only that sending
/// failed.
fn reasons(error: &(dyn Error + 'static)) -> String {
    let mut all = vec![one_line(&error.to_string())];
    let mut next = error.source();
    while let Some(error) = next {
        let words = one_line(&error.to_string());
        if all.last().is_none_or(|last| !last.ends_with(&words)) {
            all.push(words);
        }
        next = error.source();
    }
    all.retain(|words| {
        !words.starts_with("error sending request")
            && !words.starts_with("ServiceError")
            && words != "client error (Connect)"
    });
    let from = all.len().saturating_sub(2);
    all.split_off(from).join(": ")
}

/// All the words of a chain of causes.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = one_line(&error.to_string());
    let mut next = error.source();
    while let Some(error) = next {
        let words = one_line(&error.to_string());
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        next = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_admission_is_told_from_a_missing_right() {
        for said in [
            "policy \"a\" denied request: failed to configure policy",
            "ValidatingAdmissionPolicy 'a' with binding 'b' denied request: no",
            "admission webhook \"a.example\" denied the request: no",
        ] {
            assert!(is_of_admission(said), "{said}");
        }
        assert!(!is_of_admission(
            "tiers.projectcalico.org is forbidden: User \"u\" cannot list resource \"tiers\""
        ));
    }
}
