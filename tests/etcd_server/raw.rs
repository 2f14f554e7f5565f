//! Bare requests to etcd, so that tests look at keys without the code under test.

use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

#[derive(Clone, PartialEq, prost::Message)]
pub struct KeyValue {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(int64, tag = "3")]
    pub mod_revision: i64,
    #[prost(int64, tag = "4")]
    pub version: i64,
    #[prost(bytes = "vec", tag = "5")]
    pub value: Vec<u8>,
}

impl KeyValue {
    pub fn text(&self) -> String {
        String::from_utf8(self.value.clone()).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.value).unwrap()
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct Range {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(bytes = "vec", tag = "2")]
    end: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Found {
    #[prost(message, repeated, tag = "2")]
    kvs: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Put {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PutOp {
    #[prost(message, optional, tag = "2")]
    put: Option<Put>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Puts {
    #[prost(message, repeated, tag = "2")]
    operations: Vec<PutOp>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Compaction {
    #[prost(int64, tag = "1")]
    revision: i64,
}

/// A message of up to two texts: names, users, roles, passwords.
#[derive(Clone, PartialEq, prost::Message)]
struct Words {
    #[prost(string, tag = "1")]
    first: String,
    #[prost(string, tag = "2")]
    second: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Permission {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(string, tag = "2")]
    key: String,
    #[prost(string, tag = "3")]
    end: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Grant {
    #[prost(string, tag = "1")]
    role: String,
    #[prost(message, optional, tag = "2")]
    permission: Option<Permission>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Nothing {}

/// A plain connection without a user.
#[derive(Clone)]
pub struct Raw(Channel);

impl Raw {
    pub fn new(url: &str) -> Self {
        Self(
            Endpoint::from_shared(url.to_owned())
                .unwrap()
                .connect_lazy(),
        )
    }

    /// All keys that begin with `prefix`.
    pub async fn all(&self, prefix: &str) -> Vec<KeyValue> {
        let mut end = prefix.as_bytes().to_vec();
        *end.last_mut().unwrap() += 1;
        let key = prefix.to_owned();
        let range = Range { key, end };
        let found: Found = self.ask("KV/Range", range).await.unwrap();
        found.kvs
    }

    /// One key.
    pub async fn get(&self, key: &str) -> Option<KeyValue> {
        let range = Range {
            key: key.to_owned(),
            end: Vec::new(),
        };
        let found: Found = self.ask("KV/Range", range).await.unwrap();
        found.kvs.into_iter().next()
    }

    pub async fn put(&self, key: &str, value: impl Into<Vec<u8>>) {
        self.put_all([(key.to_owned(), value.into())]).await;
    }

    pub async fn delete(&self, key: &str) {
        let range = Range {
            key: key.to_owned(),
            end: Vec::new(),
        };
        let _: Nothing = self.ask("KV/DeleteRange", range).await.unwrap();
    }

    /// Puts in transactions of 100.
    pub async fn put_all(&self, pairs: impl IntoIterator<Item = (String, Vec<u8>)>) {
        let operation = |(key, value)| PutOp {
            put: Some(Put { key, value }),
        };
        let operations: Vec<PutOp> = pairs.into_iter().map(operation).collect();
        for part in operations.chunks(100) {
            let operations = part.to_vec();
            let _: Nothing = self.ask("KV/Txn", Puts { operations }).await.unwrap();
        }
    }

    /// Takes away all keys that begin with `prefix`.
    pub async fn delete_all(&self, prefix: &str) {
        let mut end = prefix.as_bytes().to_vec();
        *end.last_mut().unwrap() += 1;
        let key = prefix.to_owned();
        let range = Range { key, end };
        let _: Nothing = self.ask("KV/DeleteRange", range).await.unwrap();
    }

    /// Whether it answers.
    pub async fn is_up(&self) -> bool {
        let range = Range {
            key: "x".into(),
            end: Vec::new(),
        };
        let answer: Result<Found, Status> = self.ask("KV/Range", range).await;
        // With users on it refuses, which is an answer.
        answer.is_ok_and(|_| true) || self.wants_user().await
    }

    async fn wants_user(&self) -> bool {
        let range = Range {
            key: "x".into(),
            end: Vec::new(),
        };
        let answer: Result<Found, Status> = self.ask("KV/Range", range).await;
        answer.is_err_and(|status| status.message().contains("user name is empty"))
    }

    pub async fn compact(&self, revision: i64) {
        let _: Nothing = self
            .ask("KV/Compact", Compaction { revision })
            .await
            .unwrap();
    }

    /// Turns users on: `root`, `calico` that may do everything below `/calico/`, `reader` that may
    /// only read there, `writer` that may only write, and `nobody` without a role. Passwords are the names with `-secret`.
    pub async fn turn_users_on(&self) {
        for (role, kind) in [
            ("all-of-calico", 2),
            ("read-calico", 0),
            ("write-calico", 1),
        ] {
            self.auth(
                "RoleAdd",
                Words {
                    first: role.into(),
                    second: String::new(),
                },
            )
            .await;
            let permission = Permission {
                kind,
                key: "/calico/".into(),
                end: "/calico0".into(),
            };
            let grant = Grant {
                role: role.into(),
                permission: Some(permission),
            };
            self.auth("RoleGrantPermission", grant).await;
        }
        for (user, role) in [
            ("root", "root"),
            ("calico", "all-of-calico"),
            ("reader", "read-calico"),
            ("writer", "write-calico"),
            ("nobody", ""),
        ] {
            let second = format!("{user}-secret");
            self.auth(
                "UserAdd",
                Words {
                    first: user.into(),
                    second,
                },
            )
            .await;
            if !role.is_empty() {
                let words = Words {
                    first: user.into(),
                    second: role.into(),
                };
                self.auth("UserGrantRole", words).await;
            }
        }
        self.auth("AuthEnable", Nothing {}).await;
    }

    async fn auth<Q: prost::Message + 'static>(&self, method: &str, request: Q) {
        let _: Nothing = self.ask(&format!("Auth/{method}"), request).await.unwrap();
    }

    async fn ask<Q, A>(&self, method: &str, request: Q) -> Result<A, Status>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let mut grpc = Grpc::new(self.0.clone()).max_decoding_message_size(1 << 30);
        grpc.ready()
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        let path: PathAndQuery = format!("/etcdserverpb.{method}").parse().unwrap();
        let codec = ProstCodec::<Q, A>::default();
        Ok(grpc
            .unary(Request::new(request), path, codec)
            .await?
            .into_inner())
    }
}
