# Template: packaging/build fills in version, address and checksum.
class CalicoctlProtect < Formula
  desc "Protect the servers of Calico itself, with a proof that nothing needed is cut"
  homepage "@HOMEPAGE@"
  url "@URL@/calicoctl-protect-@VERSION@-linux-amd64.tar.gz"
  sha256 "@SHA256@"
  license "Apache-2.0"

  depends_on arch: :x86_64
  depends_on :linux

  def install
    bin.install Dir["bin/*"]
    bash_completion.install "share/bash-completion/completions/calicoctl-protect"
    zsh_completion.install "share/zsh/site-functions/_calicoctl-protect"
    fish_completion.install "share/fish/vendor_conf.d/calicoctl-protect.fish"
    man1.install Dir["share/man/man1/*.1"]
    doc.install Dir["*.md"], "LICENSE", "THIRD-PARTY-LICENSES", "calicoctl-protect.cdx.json", "docs", "packaging"
  end

  test do
    (testpath/"node.yaml").write <<~YAML
      apiVersion: v1
      kind: Node
      metadata: {name: n1}
    YAML
    assert_match "no server is protected here",
      shell_output("#{bin}/calicoctl-protect --manifests #{testpath}/node.yaml status 2>&1")
  end
end
