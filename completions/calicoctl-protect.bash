# Completion for bash: of calicoctl-protect, and of `calicoctl protect` beside calicoctl's own.
# It asks the program, which knows the servers, nodes and namespaces of the cluster.

# A word as bash will read it, but for expansions, into `plain`.
_calicoctl_protect_unquoted() {
    local rest=$1 quote= char
    plain=
    while [[ -n $rest ]]; do
        char=${rest:0:1}
        rest=${rest:1}
        case $quote$char in
        "''" | '""') quote= ;;
        \' | \") quote=$char ;;
        \\ | '"\')
            # Between double quotes it stands for itself before most characters.
            if [[ -z $quote || $rest == [\\\"\$\`]* ]]; then
                char=${rest:0:1}
                rest=${rest:1}
            fi
            plain+=$char
            ;;
        *) plain+=$char ;;
        esac
    done
}

_calicoctl_protect() {
    # The words up to the cursor as they were typed: bash splits them at = and : as well.
    local line=${COMP_LINE:0:COMP_POINT} words=() blank part plain i
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
        _calicoctl_protect_unquoted "${words[i]}"
        words[i]=$plain
    done
    # Of the last word, bash replaces only what stands behind its own split. What completes
    # --option=value is the value alone.
    local last=${words[${#words[@]} - 1]} kept option= candidate directive=0
    _calicoctl_protect_unquoted "$2"
    kept=${last%"$plain"}
    if [[ $last == -*=* ]]; then
        option=${last%%=*}=
    fi
    while IFS= read -r candidate; do
        if [[ $candidate =~ ^:([0-9]+)$ ]]; then
            directive=${BASH_REMATCH[1]}
            continue
        fi
        candidate=$option$candidate
        candidate=${candidate#"$kept"}
        # Inside of quotes everything stands for itself.
        if [[ $typed != *[\"\']* ]]; then
            printf -v candidate %q "$candidate"
        fi
        COMPREPLY+=("$candidate")
    done < <("${words[0]/#~\//$HOME/}" __completeNoDesc "${words[@]:1}" 2>/dev/null)
    if ((directive & 2)); then
        compopt -o nospace 2>/dev/null
    fi
    if ((directive & 4)); then
        compopt +o bashdefault +o default 2>/dev/null
    elif ((directive & 16)); then
        compopt +o bashdefault +o default -o dirnames 2>/dev/null
    else
        compopt -o bashdefault -o default 2>/dev/null
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
    if [[ -z $_calicoctl_protect_before ]] && _calicoctl_protect_load; then
        # bash asks again, by what is registered now.
        return 124
    fi
    if [[ -n $_calicoctl_protect_before ]]; then
        "$_calicoctl_protect_before" "$@"
    fi
    if ((COMP_CWORD == 1)) && [[ protect == "$2"* && " ${COMPREPLY[*]} " != *" protect "* ]]; then
        COMPREPLY+=(protect)
    fi
}

# bash-completion loads what completes a command when it is first asked for, which is never while
# something is registered for it.
_calicoctl_protect_load() {
    if [[ -n $_calicoctl_protect_loaded ]]; then
        return 1
    fi
    _calicoctl_protect_loaded=yes
    complete -r calicoctl
    if declare -F _comp_load >/dev/null; then
        _comp_load -- calicoctl
    elif declare -F __load_completion >/dev/null; then
        __load_completion calicoctl
    fi
    _calicoctl_protect_register
    [[ -n $_calicoctl_protect_before ]]
}

_calicoctl_protect_register() {
    local spec
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
complete -o bashdefault -o default -F _calicoctl_protect calicoctl-protect
_calicoctl_protect_register
