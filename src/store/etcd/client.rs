//! Requests to etcd over gRPC: one server after the other until one answers, logged in where
//! there is a user, with a deadline on every wait.
//!
//! HTTPS_PROXY is not read.

use std::fmt;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};
use tonic::client::Grpc;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};
use tonic_prost::ProstCodec;

use super::endpoint::Address;
use super::fault::{Circumstances, Fault, Reason, diagnose};
use super::proto::{
    AuthenticateRequest, AuthenticateResponse, RangeRequest, RangeResponse, ResponseHeader,
    TxnRequest, TxnResponse,
};
use super::tls::Material;
use crate::store::config::Secret;
use crate::store::{StoreError, StoreErrorKind};

const RANGE: &str = "/etcdserverpb.KV/Range";
const TXN: &str = "/etcdserverpb.KV/Txn";
const AUTHENTICATE: &str = "/etcdserverpb.Auth/Authenticate";

/// A page of values may be larger than gRPC's 4 MiB; etcd's own client has no limit either.
const MAX_MESSAGE: usize = i32::MAX as usize;

/// How long to wait for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For a connection to one server, handshake included.
    pub connect: Duration,
    /// For the answer to one request.
    pub answer: Duration,
    /// For any server to come back once the datastore has been opened.
    pub return_of_server: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(15),
            return_of_server: Duration::from_secs(30),
        }
    }
}

/// A user of etcd, by name and password.
#[derive(Debug, Clone)]
pub struct User {
    /// Name.
    pub name: String,
    /// Password.
    pub password: Secret,
}

/// A connection to a cluster of etcd.
pub struct Client {
    addresses: Vec<Address>,
    material: Material,
    user: Option<User>,
    patience: Patience,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Which server is used, or tried first.
    current: usize,
    line: Option<Line>,
    token: Option<MetadataValue<Ascii>>,
    /// Counts lines and logins, so that of several requests that fail together the first one
    /// tears down and the others do not tear down what it has put up.
    generation: u64,
    /// The cluster that has answered; endpoints of another one would mix up two datastores.
    cluster: Option<u64>,
    has_answered: bool,
}

/// A connection to one server, and what goes with requests on it.
#[derive(Clone)]
struct Line {
    address: Address,
    channel: Channel,
}

struct Ticket {
    line: Line,
    token: Option<MetadataValue<Ascii>>,
    generation: u64,
    has_answered: bool,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// A client that has not connected yet. `addresses` is not empty.
    #[must_use]
    pub fn new(
        addresses: Vec<Address>,
        material: Material,
        user: Option<User>,
        patience: Patience,
    ) -> Self {
        Self {
            addresses,
            material,
            user,
            patience,
            state: Mutex::default(),
        }
    }

    /// The servers, for people.
    #[must_use]
    pub fn location(&self) -> String {
        let all: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        all.join(",")
    }

    /// The user's name, where it is known.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_ref().map(|user| user.name.as_str())
    }

    /// Reads a range, trying as long as there is hope: reading twice does no harm.
    ///
    /// # Errors
    ///
    /// When etcd refuses, or none of the servers answers.
    pub async fn range(&self, request: &RangeRequest) -> Result<RangeResponse, Fault> {
        let response: RangeResponse = self.persist(RANGE, request).await?;
        self.check_cluster(response.header.as_ref()).await?;
        Ok(response)
    }

    /// Reads keys in one transaction, trying as long as there is hope.
    ///
    /// # Errors
    ///
    /// When etcd refuses, or none of the servers answers.
    pub async fn look(&self, request: &TxnRequest) -> Result<TxnResponse, Fault> {
        let response: TxnResponse = self.persist(TXN, request).await?;
        self.check_cluster(response.header.as_ref()).await?;
        Ok(response)
    }

    /// Sends a transaction once. A [`Fault::Lost`] says that it may have taken effect.
    ///
    /// # Errors
    ///
    /// When etcd refuses or does not answer.
    pub async fn transact(&self, request: &TxnRequest) -> Result<TxnResponse, Fault> {
        self.once(TXN, request).await
    }

    async fn persist<Q, A>(&self, path: &'static str, request: &Q) -> Result<A, Fault>
    where
        Q: prost::Message + Clone + 'static,
        A: prost::Message + Default + 'static,
    {
        let mut hope = Hope::new(self).await;
        loop {
            let fault = match self.once(path, request).await {
                Ok(answer) => return Ok(answer),
                Err(fault) => fault,
            };
            hope.another_try(fault).await?;
        }
    }

    /// Sends a request once, after a new login when the old one has run out.
    async fn once<Q, A>(&self, path: &'static str, request: &Q) -> Result<A, Fault>
    where
        Q: prost::Message + Clone + 'static,
        A: prost::Message + Default + 'static,
    {
        let ticket = self.ticket().await?;
        match self.send(path, request, &ticket).await {
            Err(fault) if fault.wants_login() && self.user.is_some() => {
                self.forget(ticket.generation, true).await;
                let ticket = self.ticket().await?;
                self.send(path, request, &ticket).await
            }
            other => other,
        }
    }

    async fn send<Q, A>(&self, path: &'static str, request: &Q, ticket: &Ticket) -> Result<A, Fault>
    where
        Q: prost::Message + Clone + 'static,
        A: prost::Message + Default + 'static,
    {
        let mut request = Request::new(request.clone());
        if let Some(token) = &ticket.token {
            request.metadata_mut().insert("token", token.clone());
        }
        let sent = unary(ticket.line.channel.clone(), path, request);
        let answered = timeout(self.patience.answer, sent).await;
        let fault = match answered {
            Ok(Ok(answer)) => {
                self.state.lock().await.has_answered = true;
                return Ok(answer);
            }
            Ok(Err(status)) => {
                let known = self.circumstances(&ticket.line.address, ticket.has_answered);
                Fault::of_status(&status, &ticket.line.address, known)
            }
            Err(_) => Fault::Lost {
                address: ticket.line.address.clone(),
                reason: Reason::new("no answer in time"),
                answered: false,
            },
        };
        if self.leaves(&fault) {
            self.forget(ticket.generation, false).await;
        }
        Err(fault)
    }

    /// A connected line and a login; makes them where they are missing.
    async fn ticket(&self) -> Result<Ticket, Fault> {
        let mut state = self.state.lock().await;
        let line = match state.line.clone() {
            Some(line) => line,
            None => {
                let line = self.connect(&mut state).await?;
                state.line = Some(line.clone());
                state.generation += 1;
                line
            }
        };
        if let (None, Some(user)) = (&state.token, &self.user) {
            match self.login(&line, user, state.has_answered).await {
                Ok(token) => state.token = token,
                Err(fault) => {
                    if self.leaves(&fault) {
                        self.turn_away(&mut state);
                    }
                    return Err(fault);
                }
            }
        }
        Ok(Ticket {
            line,
            token: state.token.clone(),
            generation: state.generation,
            has_answered: state.has_answered,
        })
    }

    /// Connects to the first server that can be connected to, beginning with the current one.
    async fn connect(&self, state: &mut State) -> Result<Line, Fault> {
        let mut failures = Vec::new();
        let count = self.addresses.len();
        for index in (0..count).map(|i| (state.current + i) % count) {
            let Some(address) = self.addresses.get(index) else {
                continue;
            };
            match self.connect_to(address).await {
                Ok(channel) => {
                    state.current = index;
                    let address = address.clone();
                    return Ok(Line { address, channel });
                }
                Err(reason) => failures.push((address.clone(), reason)),
            }
        }
        Err(Fault::Unreachable(failures))
    }

    async fn connect_to(&self, address: &Address) -> Result<Channel, Reason> {
        let known = Circumstances {
            is_connecting: true,
            ..self.circumstances(address, true)
        };
        let says = |error: tonic::transport::Error| diagnose(&error, known);
        let mut endpoint = Endpoint::from_shared(address.to_string())
            .map_err(says)?
            .connect_timeout(self.patience.connect)
            // Pages are large, and the way to etcd may be long.
            .http2_adaptive_window(true);
        if address.tls {
            endpoint = endpoint
                .tls_config(self.material.towards(address))
                .map_err(says)?;
        }
        match timeout(self.patience.connect, endpoint.connect()).await {
            Ok(connected) => connected.map_err(says),
            Err(_) => Err(Reason::new("no connection in time")),
        }
    }

    /// Logs in. No token comes back from an etcd that has no users.
    async fn login(
        &self,
        line: &Line,
        user: &User,
        has_answered: bool,
    ) -> Result<Option<MetadataValue<Ascii>>, Fault> {
        let request = AuthenticateRequest {
            name: user.name.clone(),
            password: user.password.expose().to_owned(),
        };
        let sent = unary(line.channel.clone(), AUTHENTICATE, Request::new(request));
        let answer: AuthenticateResponse = match timeout(self.patience.answer, sent).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(status))
                if status.code() == Code::FailedPrecondition
                    && status.message().contains("authentication is not enabled") =>
            {
                return Ok(None);
            }
            Ok(Err(status)) => {
                let known = self.circumstances(&line.address, has_answered);
                let fault = Fault::of_status(&status, &line.address, known);
                if fault.is_passing() {
                    return Err(fault);
                }
                return Err(Fault::Final(
                    fault.into_error("the login", Some(&user.name)),
                ));
            }
            Err(_) => {
                return Err(Fault::Lost {
                    address: line.address.clone(),
                    reason: Reason::new("no answer in time"),
                    answered: false,
                });
            }
        };
        let token = answer.token.parse::<MetadataValue<Ascii>>();
        let mut token = token.map_err(|_| {
            let message = "etcd answers the login with a token that cannot be sent";
            Fault::Final(StoreError::new(StoreErrorKind::Failed, message))
        })?;
        token.set_sensitive(true);
        Ok(Some(token))
    }

    /// Whether the next try is for another server, or at least for a new connection.
    fn leaves(&self, fault: &Fault) -> bool {
        match fault {
            // Others may have less to do; the connection itself is good.
            Fault::Busy { .. } => self.addresses.len() > 1,
            fault => fault.is_passing(),
        }
    }

    /// Gives up a line, or only the login on it, unless another request has done so already.
    async fn forget(&self, generation: u64, only_login: bool) {
        let mut state = self.state.lock().await;
        if state.generation != generation {
            return;
        }
        state.generation += 1;
        state.token = None;
        if !only_login {
            self.turn_away(&mut state);
        }
    }

    /// The next request goes to the next server.
    fn turn_away(&self, state: &mut State) {
        state.line = None;
        // A login is good for all members, but one that has restarted may have lost it.
        state.token = None;
        state.current = (state.current + 1) % self.addresses.len().max(1);
    }

    async fn check_cluster(&self, header: Option<&ResponseHeader>) -> Result<(), Fault> {
        let Some(answered) = header.map(|header| header.cluster_id) else {
            return Ok(());
        };
        let mut state = self.state.lock().await;
        if *state.cluster.get_or_insert(answered) == answered {
            return Ok(());
        }
        let message = "the etcd endpoints do not belong to one cluster";
        Err(Fault::Final(
            StoreError::new(StoreErrorKind::Failed, message)
                .hint("look at ETCD_ENDPOINTS: one of them is another cluster's"),
        ))
    }

    fn circumstances(&self, address: &Address, has_answered: bool) -> Circumstances {
        Circumstances {
            tls: address.tls,
            has_certificate: self.material.has_client_certificate(),
            has_answered,
            is_connecting: false,
        }
    }
}

async fn unary<Q, A>(
    channel: Channel,
    path: &'static str,
    request: Request<Q>,
) -> Result<A, tonic::Status>
where
    Q: prost::Message + 'static,
    A: prost::Message + Default + 'static,
{
    let mut grpc = Grpc::new(channel).max_decoding_message_size(MAX_MESSAGE);
    let ready = grpc.ready().await;
    ready.map_err(|error| tonic::Status::from_error(error.into()))?;
    let path = http::uri::PathAndQuery::from_static(path);
    let answer = grpc
        .unary(request, path, ProstCodec::<Q, A>::default())
        .await?;
    Ok(answer.into_inner())
}

/// Whether and when to try again: every server gets a chance, and once the datastore has been
/// open, one that is gone may come back. One that says that it is too busy or has no leader is there,
/// and is waited for anyway.
pub struct Hope {
    tries_left: usize,
    began: Instant,
    until: Instant,
    until_able: Instant,
    pause: Duration,
    last_words: Vec<(Address, Reason)>,
}

impl Hope {
    /// For one piece of work that begins now.
    pub async fn new(client: &Client) -> Self {
        let has_answered = client.state.lock().await.has_answered;
        let patience = client.patience.return_of_server;
        let began = Instant::now();
        Self {
            tries_left: client.addresses.len(),
            began,
            until: if has_answered {
                began + patience
            } else {
                began
            },
            until_able: began + patience,
            pause: Duration::from_millis(100),
            last_words: Vec::new(),
        }
    }

    /// Waits for the next try.
    ///
    /// # Errors
    ///
    /// The fault, when there is no hope any more, and how long there was.
    pub async fn another_try(&mut self, fault: Fault) -> Result<(), Fault> {
        self.tries_left = self.tries_left.saturating_sub(1);
        let until = match fault {
            Fault::Busy { .. } | Fault::Lost { answered: true, .. } => self.until_able,
            _ => self.until,
        };
        let no_time = Instant::now() + self.pause > until;
        match &fault {
            Fault::Lost {
                address, reason, ..
            } => self.note(address, reason),
            Fault::Unreachable(_) if no_time => return Err(self.given_up(fault)),
            Fault::Unreachable(_) | Fault::Busy { .. } => {}
            _ => return Err(fault),
        }
        if no_time && self.tries_left == 0 {
            let last_words = std::mem::take(&mut self.last_words);
            let fault = match fault {
                Fault::Lost { .. } | Fault::Unreachable(_) if !last_words.is_empty() => {
                    Fault::Unreachable(last_words)
                }
                fault => fault,
            };
            return Err(self.given_up(fault));
        }
        if !no_time {
            sleep(self.pause).await;
            self.pause = (self.pause * 2).min(Duration::from_secs(2));
        }
        Ok(())
    }

    /// Says for how long it was tried, where that was long enough to notice.
    fn given_up(&self, fault: Fault) -> Fault {
        match self.began.elapsed().as_secs() {
            0 => fault,
            seconds => {
                let error = fault.into_error("the request", None);
                Fault::Final(error.detail(format!("tried for {seconds} s")))
            }
        }
    }

    /// Keeps what was heard last of each server.
    fn note(&mut self, address: &Address, reason: &Reason) {
        self.last_words.retain(|(known, _)| known != address);
        self.last_words.push((address.clone(), reason.clone()));
    }
}
