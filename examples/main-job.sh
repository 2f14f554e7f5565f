#!/bin/sh
# The main job on the sample cluster: let every node and the backup network into etcd, protect it on
# the control plane, and prune its failsafe port. Works on a copy; the sample stays as it is.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cluster=$work/cluster
mkdir "$cluster"
# The journal of a rehearsal goes with it.
export XDG_STATE_HOME="$work/state"
cp -R "$here/cluster/." "$cluster"

protect() {
    printf '\n$ calicoctl-protect %s\n' "$*"
    cargo run --quiet --manifest-path "$here/../Cargo.toml" -- --manifests "$cluster" "$@"
}

protect grant etcd --all-nodes --net 198.51.100.0/28 --yes
protect server etcd --node-selector 'has(node-role.kubernetes.io/control-plane)' --yes
protect prune etcd --yes
protect status etcd
