//! Endpoints by DNS discovery: `_etcd-client-ssl._tcp.<domain>` and `_etcd-client._tcp.<domain>`,
//! as etcd's own client looks for them.
//!
//! The name servers are those of `/etc/resolv.conf`. Search domains are not used: a domain for
//! discovery is written in full.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::endpoint::Address;
use crate::store::{StoreError, StoreErrorKind};

/// How long one name server may take.
const DEADLINE: Duration = Duration::from_secs(3);
const ATTEMPTS: usize = 2;

/// The servers that the SRV records of a domain name, by priority and weight.
///
/// # Errors
///
/// When no name server answers, or the domain has no such records.
pub async fn discover(domain: &str, servers: &[SocketAddr]) -> Result<Vec<Address>, StoreError> {
    let mut found = Vec::new();
    let mut failures = Vec::new();
    for (service, tls) in [
        ("_etcd-client-ssl._tcp", true),
        ("_etcd-client._tcp", false),
    ] {
        let name = format!("{service}.{}.", domain.trim_matches('.'));
        match lookup(&name, tls, servers).await {
            Ok(addresses) => found.extend(addresses),
            Err(reason) => failures.push(format!("{name} {reason}")),
        }
    }
    if !found.is_empty() {
        return Ok(found);
    }
    let error = StoreError::new(
        StoreErrorKind::Failed,
        format!("no etcd endpoints are found by DNS for `{domain}`"),
    )
    .hint("look at ETCD_DISCOVERY_SRV, or name endpoints in ETCD_ENDPOINTS");
    Err(failures.into_iter().fold(error, StoreError::detail))
}

/// The name servers of this machine.
///
/// # Errors
///
/// When `/etc/resolv.conf` cannot be read or names none.
pub fn name_servers() -> Result<Vec<SocketAddr>, StoreError> {
    let path = "/etc/resolv.conf";
    let wrong = |why: String| {
        StoreError::new(
            StoreErrorKind::Failed,
            format!("cannot look for etcd by DNS: {why}"),
        )
        .hint("name endpoints in ETCD_ENDPOINTS")
    };
    let text = std::fs::read_to_string(path).map_err(|e| wrong(format!("`{path}`: {e}")))?;
    let servers = parse_servers(&text);
    if servers.is_empty() {
        return Err(wrong(format!("`{path}` has no name server")));
    }
    Ok(servers)
}

fn parse_servers(text: &str) -> Vec<SocketAddr> {
    let address = |line: &str| {
        let mut words = line.split_whitespace();
        words.next().filter(|word| *word == "nameserver")?;
        let address: IpAddr = words.next()?.parse().ok()?;
        Some(SocketAddr::new(address, 53))
    };
    text.lines().filter_map(address).collect()
}

async fn lookup(name: &str, tls: bool, servers: &[SocketAddr]) -> Result<Vec<Address>, String> {
    let query = Name::from_ascii(name).map_err(|_| "is no DNS name".to_owned())?;
    let mut last = "has no name server to ask".to_owned();
    for server in servers.iter().cycle().take(servers.len() * ATTEMPTS) {
        match timeout(DEADLINE, ask(&query, *server)).await {
            Ok(Ok(answer)) => return endpoints(&answer, tls),
            Ok(Err(reason)) => last = format!("is not answered by {}: {reason}", server.ip()),
            Err(_) => last = format!("is not answered by {} in time", server.ip()),
        }
    }
    Err(last)
}

fn endpoints(answer: &Message, tls: bool) -> Result<Vec<Address>, String> {
    match answer.metadata.response_code {
        ResponseCode::NoError => {}
        ResponseCode::NXDomain => return Err("does not exist".into()),
        other => return Err(format!("is answered with `{other}`")),
    }
    let mut found: Vec<_> = answer
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::SRV(srv) => Some(srv),
            _ => None,
        })
        // A lone dot says that there is no such service.
        .filter(|srv| !srv.target.is_root())
        .collect();
    found.sort_by_key(|srv| (srv.priority, std::cmp::Reverse(srv.weight)));
    if found.is_empty() {
        return Err("has no SRV record".into());
    }
    let address = |srv: &hickory_proto::rr::rdata::SRV| Address {
        tls,
        host: srv.target.to_ascii().trim_end_matches('.').to_owned(),
        port: srv.port,
    };
    Ok(found.into_iter().map(address).collect())
}

/// Asks one name server, by UDP and, when the answer does not fit, by TCP.
async fn ask(name: &Name, server: SocketAddr) -> Result<Message, String> {
    let mut request = Message::query();
    request.metadata.recursion_desired = true;
    let mut query = Query::query(name.clone(), RecordType::SRV);
    query.set_query_class(DNSClass::IN);
    request.add_query(query);
    let id = request.metadata.id;
    let bytes = request.to_vec().map_err(|error| error.to_string())?;

    let io = |error: std::io::Error| error.to_string();
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(any).await.map_err(io)?;
    socket.connect(server).await.map_err(io)?;
    socket.send(&bytes).await.map_err(io)?;
    let mut buffer = vec![0; 65_535];
    let answer = loop {
        let length = socket.recv(&mut buffer).await.map_err(io)?;
        let parsed = Message::from_vec(buffer.get(..length).unwrap_or_default());
        match parsed {
            // Another id is an answer to somebody else, or made up.
            Ok(answer) if answer.metadata.id == id => break answer,
            _ => {}
        }
    };
    if !answer.metadata.truncation {
        return Ok(answer);
    }
    let mut stream = TcpStream::connect(server).await.map_err(io)?;
    let length = u16::try_from(bytes.len()).map_err(|error| error.to_string())?;
    stream.write_all(&length.to_be_bytes()).await.map_err(io)?;
    stream.write_all(&bytes).await.map_err(io)?;
    let length = stream.read_u16().await.map_err(io)?;
    let mut buffer = vec![0; usize::from(length)];
    stream.read_exact(&mut buffer).await.map_err(io)?;
    let answer = Message::from_vec(&buffer).map_err(|error| error.to_string())?;
    if answer.metadata.id == id {
        Ok(answer)
    } else {
        Err("the answer is to another question".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::OpCode;
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::SRV;

    /// A name server that knows two TLS servers in `good.test` and nothing else.
    async fn serve() -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 1500];
            loop {
                let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
                let request = Message::from_vec(&buffer[..length]).unwrap();
                let mut answer = Message::response(request.metadata.id, OpCode::Query);
                let query = request.queries[0].clone();
                let name = query.name().clone();
                if name.to_ascii() == "_etcd-client-ssl._tcp.good.test." {
                    for (priority, weight, host) in [(1, 1, "b"), (0, 1, "c"), (0, 5, "a")] {
                        let target = Name::from_ascii(format!("{host}.good.test.")).unwrap();
                        let srv = RData::SRV(SRV::new(priority, weight, 2379, target));
                        answer.add_answer(Record::from_rdata(name.clone(), 60, srv));
                    }
                } else {
                    answer.metadata.response_code = ResponseCode::NXDomain;
                }
                answer.add_query(query);
                socket
                    .send_to(&answer.to_vec().unwrap(), peer)
                    .await
                    .unwrap();
            }
        });
        address
    }

    #[tokio::test]
    async fn records_give_endpoints_in_their_order() {
        let server = serve().await;
        let dead: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let found = discover("good.test", &[dead, server]).await.unwrap();
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "https://a.good.test:2379",
                "https://c.good.test:2379",
                "https://b.good.test:2379"
            ]
        );
        let error = discover("bad.test", &[server]).await.unwrap_err();
        assert_eq!(
            error.message,
            "no etcd endpoints are found by DNS for `bad.test`"
        );
        assert_eq!(
            error.detail[0],
            "_etcd-client-ssl._tcp.bad.test. does not exist"
        );
    }

    #[test]
    fn name_servers_are_read() {
        let text = "# x\nsearch a.test\nnameserver 192.0.2.53\nnameserver 2001:db8::53 \noptions x\nnameserver\n";
        let found: Vec<String> = parse_servers(text)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(found, ["192.0.2.53:53", "[2001:db8::53]:53"]);
    }
}
