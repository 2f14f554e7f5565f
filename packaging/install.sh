#!/bin/sh
# Installs calicoctl-protect for one user, without root:
#
#   sh install.sh [--dir DIR] [--from URL|FOLDER] [--remove]
#
#   --dir DIR    where the program goes (default ~/.local/bin)
#   --from FROM  where the archive and SHA256SUMS are (default: where this script was published)
#   --remove     take everything away again
#
# Completions and man pages go below ${XDG_DATA_HOME:-~/.local/share}. The archive is checked against
# SHA256SUMS before anything is touched. Running it again changes nothing. A file that is not ours
# is never overwritten.
set -eu

version=@VERSION@
from=@URL@
name=calicoctl-protect
dir=$HOME/.local/bin
data=${XDG_DATA_HOME:-$HOME/.local/share}
remove=

say() { printf '%s\n' "$*"; }
fail() {
    printf 'error: %s\n' "$1" >&2
    [ $# -lt 2 ] || printf 'hint: %s\n' "$2" >&2
    exit 1
}

while [ $# -gt 0 ]; do
    case $1 in
    --dir) dir=${2:?--dir needs a folder} && shift 2 ;;
    --from) from=${2:?--from needs an address or a folder} && shift 2 ;;
    --remove) remove=yes && shift ;;
    *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" | sed '$d' >&2 && exit 64 ;;
    esac
done

links='kubectl-calico-protect kubectl_complete-calico-protect'
parts="bash-completion/completions/$name zsh/site-functions/_$name fish/vendor_completions.d/$name.fish"

if [ -n "$remove" ]; then
    for link in $links; do
        [ "$(readlink "$dir/$link" || :)" != "$name" ] || rm -f "$dir/$link"
    done
    for part in $parts; do rm -f "$data/$part"; done
    rm -f "$dir/$name" "$data/man/man1/$name".1 "$data/man/man1/$name"-*.1 "$data/man/man1/kubectl-calico-protect.1" \
        "$data/man/man1/kubectl_complete-calico-protect.1"
    say "removed $dir/$name"
    exit 0
fi

case $(uname -s)-$(uname -m) in
Linux-x86_64) ;;
*) fail "there is no archive for $(uname -s) on $(uname -m)" "build it from the sources: cargo install --locked --path ." ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

fetch() { # name: from a folder or an address into $work
    case $from in
    *://*)
        if command -v curl >/dev/null; then
            curl -fsSL --retry 3 -o "$work/$1" "$from/$1"
        elif command -v wget >/dev/null; then
            wget -q -O "$work/$1" "$from/$1"
        else
            fail "neither curl nor wget is here" "download the archive and SHA256SUMS, then: --from FOLDER"
        fi
        ;;
    *) cp "$from/$1" "$work/$1" ;;
    esac || fail "cannot get \`$1\` from \`$from\`" "--from names the folder or address that holds it"
}

sum() {
    if command -v sha256sum >/dev/null; then
        sha256sum "$1"
    else
        shasum -a 256 "$1"
    fi | cut -d' ' -f1
}

stem=$name-$version-linux-amd64
fetch SHA256SUMS
fetch "$stem.tar.gz"
wanted=$(sed -n "s/^\([0-9a-f]\{64\}\) [ *]$stem\.tar\.gz\$/\1/p" "$work/SHA256SUMS")
[ -n "$wanted" ] || fail "SHA256SUMS does not name \`$stem.tar.gz\`" "archive and SHA256SUMS are of different versions"
found=$(sum "$work/$stem.tar.gz")
[ "$found" = "$wanted" ] || fail "\`$stem.tar.gz\` is not what SHA256SUMS says: $found, not $wanted" "do not use it; get both again"
tar -xzf "$work/$stem.tar.gz" -C "$work"
tree=$work/$stem

for link in $links; do
    if [ -e "$dir/$link" ] || [ -L "$dir/$link" ]; then
        [ "$(readlink "$dir/$link" || :)" = "$name" ] || fail "\`$dir/$link\` is there and is not ours" "move it away, or install elsewhere: --dir DIR"
    fi
done
[ ! -d "$dir/$name" ] || fail "\`$dir/$name\` is a folder" "install elsewhere: --dir DIR"

changed=
put() { # source target mode
    if cmp -s "$1" "$2"; then return; fi
    mkdir -p "${2%/*}"
    cp "$1" "$2.new" && chmod "$3" "$2.new" && mv -f "$2.new" "$2"
    changed=yes
}
put "$tree/bin/$name" "$dir/$name" 755
for link in $links; do
    [ -L "$dir/$link" ] || { ln -s "$name" "$dir/$link" && changed=yes; }
done
for part in $parts; do put "$tree/share/$part" "$data/$part" 644; done
for page in "$tree"/share/man/man1/*.1; do put "$page" "$data/man/man1/${page##*/}" 644; done

if [ -n "$changed" ]; then
    say "installed $name $version to $dir"
else
    say "$name $version is already in $dir"
fi
case :$PATH: in
*":$dir:"*) ;;
*) say "note: $dir is not in PATH: add it there, so that kubectl finds \`kubectl calico protect\`" ;;
esac
say "next: $name --help; \`$name plugin install\` makes \`calicoctl protect\` work, too"
