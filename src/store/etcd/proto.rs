//! The few messages of etcd's gRPC interface that are used here, by their published field numbers
//! (`etcdserverpb/rpc.proto` and `mvccpb/kv.proto`, stable since etcd 3.0).

/// What every answer begins with.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct ResponseHeader {
    /// Which etcd cluster answers.
    #[prost(uint64, tag = "1")]
    pub cluster_id: u64,
    /// Which of its members answers.
    #[prost(uint64, tag = "2")]
    pub member_id: u64,
    /// Revision of the store when the answer was made.
    #[prost(int64, tag = "3")]
    pub revision: i64,
    /// Raft term.
    #[prost(uint64, tag = "4")]
    pub raft_term: u64,
}

/// A key and what is kept under it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct KeyValue {
    /// The key.
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    /// Revision at which it was made.
    #[prost(int64, tag = "2")]
    pub create_revision: i64,
    /// Revision at which it was last written.
    #[prost(int64, tag = "3")]
    pub mod_revision: i64,
    /// How often it was written since it was made.
    #[prost(int64, tag = "4")]
    pub version: i64,
    /// The value.
    #[prost(bytes = "vec", tag = "5")]
    pub value: Vec<u8>,
    /// The lease that takes the key away when it ends; 0 for none.
    #[prost(int64, tag = "6")]
    pub lease: i64,
}

/// Asks for the keys from `key` up to, not including, `range_end`; for one key without the latter.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RangeRequest {
    /// First key.
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    /// Key behind the last; empty for one key.
    #[prost(bytes = "vec", tag = "2")]
    pub range_end: Vec<u8>,
    /// Keys at most; 0 for all.
    #[prost(int64, tag = "3")]
    pub limit: i64,
    /// Revision to look at; 0 for the newest.
    #[prost(int64, tag = "4")]
    pub revision: i64,
}

/// Keys of a range, in order.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RangeResponse {
    /// Header; absent inside the answer to a transaction.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// The keys with their values.
    #[prost(message, repeated, tag = "2")]
    pub kvs: Vec<KeyValue>,
    /// Whether the limit left some out.
    #[prost(bool, tag = "3")]
    pub more: bool,
    /// How many keys the range has.
    #[prost(int64, tag = "4")]
    pub count: i64,
}

/// Writes a value.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PutRequest {
    /// Under which key.
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    /// The value.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
    /// The lease of the key; 0 for none, which takes an earlier one off.
    #[prost(int64, tag = "3")]
    pub lease: i64,
}

/// Takes keys away.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DeleteRangeRequest {
    /// First key.
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    /// Key behind the last; empty for one key.
    #[prost(bytes = "vec", tag = "2")]
    pub range_end: Vec<u8>,
}

/// One operation of a transaction.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RequestOp {
    /// The operation.
    #[prost(oneof = "Request", tags = "1, 2, 3")]
    pub request: Option<Request>,
}

/// The kinds of operation.
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum Request {
    /// A read.
    #[prost(message, tag = "1")]
    Range(RangeRequest),
    /// A write.
    #[prost(message, tag = "2")]
    Put(PutRequest),
    /// A deletion.
    #[prost(message, tag = "3")]
    Delete(DeleteRangeRequest),
}

/// The answer to one operation of a transaction. Answers to writes are not looked at.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ResponseOp {
    /// The answer to a read.
    #[prost(message, optional, tag = "1")]
    pub range: Option<RangeResponse>,
}

/// A condition of a transaction: that a number of the key is equal to the one given. An absent
/// key has 0 for every number.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Compare {
    /// How to compare; 0 for equality.
    #[prost(int32, tag = "1")]
    pub result: i32,
    /// What to compare; see [`Number`].
    #[prost(int32, tag = "2")]
    pub target: i32,
    /// Of which key.
    #[prost(bytes = "vec", tag = "3")]
    pub key: Vec<u8>,
    /// With what.
    #[prost(oneof = "Number", tags = "4, 6")]
    pub number: Option<Number>,
}

/// The numbers of a key that conditions are about.
#[derive(Clone, Copy, PartialEq, Eq, prost::Oneof)]
pub enum Number {
    /// How often it was written since it was made.
    #[prost(int64, tag = "4")]
    Version(i64),
    /// Revision at which it was last written.
    #[prost(int64, tag = "6")]
    ModRevision(i64),
}

/// Operations that are carried out together, one list or the other.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TxnRequest {
    /// Conditions.
    #[prost(message, repeated, tag = "1")]
    pub compare: Vec<Compare>,
    /// Carried out when all hold.
    #[prost(message, repeated, tag = "2")]
    pub success: Vec<RequestOp>,
    /// Carried out otherwise.
    #[prost(message, repeated, tag = "3")]
    pub failure: Vec<RequestOp>,
}

/// What a transaction did.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TxnResponse {
    /// Header; its revision is that of the keys written.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// Whether all conditions held.
    #[prost(bool, tag = "2")]
    pub succeeded: bool,
    /// Answers, one an operation.
    #[prost(message, repeated, tag = "3")]
    pub responses: Vec<ResponseOp>,
}

/// A login.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AuthenticateRequest {
    /// User.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Password.
    #[prost(string, tag = "2")]
    pub password: String,
}

/// The answer to a login.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AuthenticateResponse {
    /// Header.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// What later requests are to carry.
    #[prost(string, tag = "2")]
    pub token: String,
}

impl RangeRequest {
    /// One key, as it is now.
    #[must_use]
    pub fn key(key: &str) -> Self {
        Self {
            key: key.into(),
            ..Self::default()
        }
    }
}

impl RequestOp {
    /// A read of one key.
    #[must_use]
    pub fn get(key: &str) -> Self {
        Self::of(Request::Range(RangeRequest::key(key)))
    }

    /// A write. `lease` is the one that the key has.
    #[must_use]
    pub fn put(key: &str, value: &str, lease: i64) -> Self {
        Self::of(Request::Put(PutRequest {
            key: key.into(),
            value: value.into(),
            lease,
        }))
    }

    /// A deletion of one key.
    #[must_use]
    pub fn delete(key: &str) -> Self {
        Self::of(Request::Delete(DeleteRangeRequest {
            key: key.into(),
            range_end: Vec::new(),
        }))
    }

    fn of(request: Request) -> Self {
        Self {
            request: Some(request),
        }
    }
}

impl Compare {
    /// That the key is absent.
    #[must_use]
    pub fn absent(key: &str) -> Self {
        Self {
            result: 0,
            target: 0,
            key: key.into(),
            number: Some(Number::Version(0)),
        }
    }

    /// That the key was last written at this revision.
    #[must_use]
    pub fn unchanged(key: &str, mod_revision: i64) -> Self {
        Self {
            result: 0,
            target: 2,
            key: key.into(),
            number: Some(Number::ModRevision(mod_revision)),
        }
    }
}
