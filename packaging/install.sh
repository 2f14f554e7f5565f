#!/bin/sh
# Installs calicoctl-protect for one user, without root. What it does is in `usage`.
set -eu

version=@VERSION@
from=@URL@
wanted=@SHA256@
name=calicoctl-protect
stem=$name-$version-linux-amd64
links='kubectl-calico-protect kubectl_complete-calico-protect'
parts="bash-completion/completions/$name zsh/site-functions/_$name fish/vendor_conf.d/$name.fish"

usage() {
    cat <<USAGE
Installs calicoctl-protect for one user, without root:

  sh install.sh [--dir DIR] [--from URL|FOLDER] [--remove]

  --dir DIR    where the program goes (default ~/.local/bin)
  --from FROM  where the archive is (default: where this script was published)
  --remove     take everything away again, and the links that \`$name plugin install\` made in DIR

Completions and man pages go below \${XDG_DATA_HOME:-~/.local/share}. The archive must have the
checksum that is written in this script; that is looked at before anything is touched. Running it
again changes nothing. A file that is not ours is never overwritten, nor removed.
USAGE
}

say() { printf '%s\n' "$*"; }
fail() {
    printf 'error: %s\n' "$1" >&2
    [ $# -lt 2 ] || printf 'hint: %s\n' "$2" >&2
    exit "${3:-1}"
}

fetch() { # from a folder or an address into $work
    case $from in
    *://*)
        # A redirect leads from https to nothing else.
        case $from in https://*) only=https ;; *) only=http,https,file ;; esac
        if command -v curl >/dev/null; then
            curl --proto "=$only" -fsSL --retry 3 -o "$work/$1" "$from/$1"
        elif command -v wget >/dev/null; then
            wget -q -O "$work/$1" "$from/$1"
        else
            fail "neither curl nor wget is here" "download the archive, then: --from FOLDER"
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

# Whether something is this program: the file, or a link to a file of its name (as `plugin install` makes).
is_program() {
    if [ -L "$1" ]; then
        case $(readlink "$1") in "$name" | */"$name") return 0 ;; *) return 1 ;; esac
    fi
    [ -f "$1" ] && [ -x "$1" ] && case $("$1" --version 2>/dev/null </dev/null || :) in "$name "*) ;; *) return 1 ;; esac
}
# Whether a file of completions or a man page is of this program: its first lines say so.
is_part() { [ -f "$1" ] && head -n 5 "$1" | grep -q "$name"; }
# Whether nothing is at a place, or something that a test says is ours.
is_free() { { [ ! -e "$2" ] && [ ! -L "$2" ]; } || "$1" "$2"; }
refuse() { fail "\`$1\` is there and is not ours" "move it away, or install elsewhere: --dir DIR"; }

put() { # source target mode
    if [ ! -L "$2" ] && cmp -s "$1" "$2"; then return; fi
    { mkdir -p "${2%/*}" && cp "$1" "$2.new" && chmod "$3" "$2.new" && mv -f "$2.new" "$2"; } || {
        rm -f "$2.new"
        fail "cannot write \`$2\`"
    }
    changed=yes
}
link() { # target name
    if [ "$(readlink "$2" || :)" = "$1" ]; then return; fi
    { rm -f "$2" && ln -s "$1" "$2"; } || fail "cannot link \`$2\`"
    changed=yes
}

install() {
    case $(uname -s)-$(uname -m) in
    Linux-x86_64) ;;
    *) fail "there is no archive for $(uname -s) on $(uname -m)" "build it from the sources: cargo install --locked --path ." ;;
    esac

    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    trap 'exit 1' HUP INT TERM
    fetch "$stem.tar.gz"
    found=$(sum "$work/$stem.tar.gz")
    [ "$found" = "$wanted" ] || fail "\`$stem.tar.gz\` is not what this script was published with: its checksum is $found, not $wanted" \
        "do not use it; get script and archive again, of the same version"
    tar -xzf "$work/$stem.tar.gz" -C "$work"
    tree=$work/$stem

    for file in "$name" $links; do is_free is_program "$dir/$file" || refuse "$dir/$file"; done
    for part in $parts; do is_free is_part "$data/$part" || refuse "$data/$part"; done
    for page in "$tree"/share/man/man1/*.1; do
        is_free is_part "$data/man/man1/${page##*/}" || refuse "$data/man/man1/${page##*/}"
    done

    changed=
    put "$tree/bin/$name" "$dir/$name" 755
    for file in $links; do link "$name" "$dir/$file"; done
    for part in $parts; do put "$tree/share/$part" "$data/$part" 644; done
    for page in "$tree"/share/man/man1/*.1; do put "$page" "$data/man/man1/${page##*/}" 644; done

    if [ -n "$changed" ]; then
        say "installed $name $version to $dir"
    else
        say "$name $version is already in $dir"
    fi
    case :$PATH: in
    *":$(cd "$dir" && pwd):"*) ;;
    *) say "note: $dir is not in PATH: add it there, so that kubectl finds \`kubectl calico protect\`" ;;
    esac
    case ${SHELL:-} in
    */zsh) say "note: zsh completes it with \`fpath=($data/zsh/site-functions \$fpath)\` before \`compinit\` in ~/.zshrc" ;;
    esac
    say "next: $name --help; \`$name plugin install\` makes \`calicoctl protect\` work, too"
}

remove() {
    gone=
    if [ ! -L "$dir/$name" ] && is_program "$dir/$name"; then
        # Its own links first: nothing may be left that leads nowhere.
        "$dir/$name" plugin remove --dir "$dir" >/dev/null 2>&1 </dev/null || :
        gone=yes
    fi
    for file in $links; do
        if [ "$(readlink "$dir/$file" || :)" = "$name" ]; then rm -f "$dir/$file" && gone=yes; fi
    done
    for file in $parts man/man1/kubectl-calico-protect.1 man/man1/kubectl_complete-calico-protect.1; do
        if is_part "$data/$file"; then rm -f "$data/$file" && gone=yes; fi
    done
    for page in "$data/man/man1/$name".1 "$data/man/man1/$name"-*.1; do
        if is_part "$page"; then rm -f "$page" && gone=yes; fi
    done
    if [ ! -L "$dir/$name" ] && is_program "$dir/$name"; then rm -f "$dir/$name"; fi
    if [ -n "$gone" ]; then
        say "removed $name from $dir"
    else
        say "$name is not in $dir"
    fi
}

main() {
    dir=
    task=install
    while [ $# -gt 0 ]; do
        case $1 in
        --dir | --from)
            [ -n "${2:-}" ] || fail "$1 needs a value" "sh install.sh --help" 64
            case $1 in --dir) dir=$2 ;; *) from=$2 ;; esac
            shift 2
            ;;
        --remove) task=remove && shift ;;
        -h | --help) usage && exit 0 ;;
        *) fail "\`$1\` is not known" "sh install.sh --help" 64 ;;
        esac
    done
    [ -n "${HOME:-}" ] || fail "HOME is not set" "set it to your own folder"
    dir=${dir:-$HOME/.local/bin}
    case $dir in /*) ;; *) dir=$PWD/$dir ;; esac
    case $dir in ?*/) dir=${dir%/} ;; esac
    data=${XDG_DATA_HOME:-$HOME/.local/share}
    "$task"
}

# Nothing runs before the whole script has arrived.
main "$@"
