//! Folders of manifests of any size.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

/// How host endpoints are spread over files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// A document each, all in one file.
    OneFile,
    /// Items of one `HostEndpointList`.
    OneList,
    /// A file each, a hundred to a folder.
    ManyFiles,
}

/// A host endpoint with labels, `indent` blanks in.
fn host_endpoint(number: usize, interface: &str, indent: &str, first: &str) -> String {
    let (rack, high, low) = (number % 40, number / 256, number % 256);
    let lines = [
        "apiVersion: projectcalico.org/v3".to_owned(),
        "kind: HostEndpoint".to_owned(),
        "metadata:".to_owned(),
        format!("  name: node-{number}-eth0"),
        "  labels:".to_owned(),
        "    role: worker".to_owned(),
        format!("    kubernetes.io/hostname: node-{number}"),
        format!("    zone: \"{rack}\""),
        "    bl-default-allow: \"true\"".to_owned(),
        "spec:".to_owned(),
        format!("  node: node-{number}"),
        format!("  interfaceName: \"{interface}\""),
        "  expectedIPs:".to_owned(),
        format!("  - 10.{high}.{low}.1"),
        format!("  - 192.168.{high}.{low}   # storage"),
    ];
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        let indent = if number == 0 { first } else { indent };
        let _ = writeln!(text, "{indent}{line}");
    }
    text
}

/// Fills a folder with `count` host endpoints for an interface, or for `*`.
pub fn host_endpoints(
    folder: &Path,
    layout: Layout,
    count: usize,
    interface: &str,
) -> io::Result<()> {
    match layout {
        Layout::OneFile => {
            let documents: String = (0..count)
                .map(|n| format!("---\n{}", host_endpoint(n, interface, "", "")))
                .collect();
            fs::write(folder.join("host-endpoints.yaml"), documents)
        }
        Layout::OneList => {
            let items: String = (0..count)
                .map(|n| host_endpoint(n, interface, "  ", "- "))
                .collect();
            let head = "apiVersion: projectcalico.org/v3\nkind: HostEndpointList\nitems:\n";
            fs::write(folder.join("host-endpoints.yaml"), format!("{head}{items}"))
        }
        Layout::ManyFiles => {
            for n in 0..count {
                let below = folder.join(format!("{:03}", n / 100));
                if n % 100 == 0 {
                    fs::create_dir_all(&below)?;
                }
                fs::write(
                    below.join(format!("node-{n}.yaml")),
                    host_endpoint(n, interface, "", ""),
                )?;
            }
            Ok(())
        }
    }
}
