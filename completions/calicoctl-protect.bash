# Completion for bash: of calicoctl-protect, and of `calicoctl protect` beside calicoctl's own.
# It asks the program, which knows the servers, nodes and namespaces of the cluster.

_calicoctl_protect() {
    # The words up to the cursor as they were typed: bash splits them at = and : as well.
    local line=${COMP_LINE:0:COMP_POINT} words=() blank part i
    for ((i = 0; i <= COMP_CWORD; i++)); do
        blank=${line%%[! $'\t']*}
        line=${line#"$blank"}
        part=${COMP_WORDS[i]}
        if ((i == COMP_CWORD)); then
            part=$line
        fi
        line=${line#"$part"}
        if ((i == 0)) || [[ -n $blank ]]; then
            words+=("$part")
        else
            words[${#words[@]} - 1]+=$part
        fi
    done
    local typed=${words[${#words[@]} - 1]}
    for ((i = 0; i < ${#words[@]}; i++)); do
        words[i]=${words[i]//[\"\'\\]/}
    done
    # Of the last word, bash replaces only what stands behind its own split.
    local last=${words[${#words[@]} - 1]} fragment=${2//[\"\'\\]/} kept candidate
    kept=${last%"$fragment"}
    local directive=0
    while IFS= read -r candidate; do
        if [[ $candidate =~ ^:([0-9]+)$ ]]; then
            directive=${BASH_REMATCH[1]}
            continue
        fi
        candidate=${candidate#"$kept"}
        # Inside of quotes everything stands for itself.
        if [[ $typed != *[\"\']* ]]; then
            case $candidate in
            '~/'*) candidate="~/$(printf %q "${candidate:2}")" ;;
            *) printf -v candidate %q "$candidate" ;;
            esac
        fi
        COMPREPLY+=("$candidate")
    done < <("${words[0]/#~\//$HOME/}" __completeNoDesc "${words[@]:1}" 2>/dev/null)
    if ((directive & 2)); then
        compopt -o nospace 2>/dev/null
    fi
}

_calicoctl_protect_beside() {
    local word
    COMPREPLY=()
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        if [[ $word == protect ]]; then
            _calicoctl_protect "$@"
            return
        fi
    done
    if [[ -n $_calicoctl_protect_before ]]; then
        "$_calicoctl_protect_before" "$@"
    fi
    if ((COMP_CWORD == 1)) && [[ protect == "$2"* && " ${COMPREPLY[*]} " != *" protect "* ]]; then
        COMPREPLY+=(protect)
    fi
}

_calicoctl_protect_register() {
    local spec
    complete -F _calicoctl_protect calicoctl-protect
    # What completes calicoctl already goes on doing it.
    spec=$(complete -p calicoctl 2>/dev/null) || spec=
    if [[ $spec =~ -F\ _calicoctl_protect_beside ]]; then
        return
    fi
    if [[ $spec =~ \ -F\ ([^ ]+)\  ]]; then
        _calicoctl_protect_before=${BASH_REMATCH[1]}
        eval "${spec/-F $_calicoctl_protect_before/-F _calicoctl_protect_beside}"
    elif [[ -z $spec ]]; then
        _calicoctl_protect_before=
        complete -o bashdefault -o default -F _calicoctl_protect_beside calicoctl
    fi
}
_calicoctl_protect_register
unset -f _calicoctl_protect_register
