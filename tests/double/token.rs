//! Continue tokens: unpadded URL-safe base64 of `{"v":"meta.k8s.io/v1","rv":N,"start":"/key\0"}`.

use serde_json::{Value, json};

use super::status::{Outcome, bad_request};

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Base64 without padding, URL-safe.
pub fn encode64(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let n = chunk
            .iter()
            .chain([0, 0].iter())
            .take(3)
            .fold(0u32, |n, b| n << 8 | u32::from(*b));
        for i in 0..=chunk.len() {
            let at = (n >> (18 - 6 * i)) & 63;
            out.push(char::from(ALPHABET[at as usize]));
        }
    }
    out
}

/// The reverse of [`encode64`]; the position of the first bad character otherwise.
pub fn decode64(text: &str) -> Result<Vec<u8>, usize> {
    let mut out = Vec::new();
    for (i, chunk) in text.as_bytes().chunks(4).enumerate() {
        let mut n = 0u32;
        for (j, c) in chunk.iter().enumerate() {
            let at = ALPHABET.iter().position(|a| a == c).ok_or(4 * i + j)?;
            n |= (at as u32) << (18 - 6 * j);
        }
        if chunk.len() == 1 {
            return Err(4 * i);
        }
        out.extend(n.to_be_bytes().iter().skip(1).take(chunk.len() - 1));
    }
    Ok(out)
}

/// Where a list goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Continue {
    /// ResourceVersion of the first page; `None` (written -1) for the present.
    pub at: Option<u64>,
    /// Last key seen, with a leading slash, without the trailing NUL.
    pub after: String,
}

impl Continue {
    /// The token.
    pub fn encode(&self) -> String {
        let rv = self.at.map_or(Value::from(-1), Value::from);
        // The server writes the NUL as an escape, as serde_json does.
        let document = json!({
            "v": "meta.k8s.io/v1",
            "rv": rv,
            "start": format!("{}\0", self.after),
        });
        encode64(document.to_string().as_bytes())
    }

    /// Reads a token, with the server's 400 for a malformed one.
    pub fn decode(token: &str) -> Outcome<Self> {
        let bad = |why: String| {
            bad_request(format!(
                "invalid continue token: continue key is not valid: {why}"
            ))
        };
        let bytes =
            decode64(token).map_err(|at| bad(format!("illegal base64 data at input byte {at}")))?;
        let document: Value = serde_json::from_slice(&bytes).map_err(|_| {
            let first = bytes.first().copied().map_or('\0', char::from);
            let shown = if first.is_ascii_graphic() {
                first.to_string()
            } else {
                format!("\\u{:04x}", u32::from(first))
            };
            bad(format!(
                "invalid character '{shown}' looking for beginning of value"
            ))
        })?;
        if document["v"] != "meta.k8s.io/v1" {
            return Err(bad("incorrect encoded start resourceVersion".into()));
        }
        Ok(Self {
            at: document["rv"].as_u64(),
            after: document["start"]
                .as_str()
                .unwrap_or_default()
                .trim_end_matches('\0')
                .to_owned(),
        })
    }
}
