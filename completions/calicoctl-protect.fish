# Completion for fish: of calicoctl-protect, and of `calicoctl protect` beside calicoctl's own.
# It asks the program, which knows the servers, nodes and namespaces of the cluster.

function __calicoctl_protect_ask
    set -l words (commandline --current-process --tokenize --cut-at-cursor)
    set -l typed (commandline --current-token --cut-at-cursor)
    # A quote that is still open is none of the word's.
    set -l last (string unescape -- "$typed"; or string trim --left --chars "'\"" -- "$typed")
    # The program is named as it was typed.
    set -l program (string replace --regex '^~/' "$HOME/" -- $words[1])
    type --query -- $program; or return
    set -l answer ($program __complete $words[2..-1] "$last" 2>/dev/null)
    set -l directive (string replace --filter --regex -- '^:([0-9]+)$' '$1' $answer)
    # What completes --option=value is the value alone.
    set -l option (string match --regex -- '^-[^=]*=' "$typed")
    switch "$directive"
        case 0 16
            # What is no command is completed with files.
            set -l path (string replace -- "$option" '' "$typed")
            set -l paths (complete --do-complete "__calicoctl_protect_paths $path")
            if test $directive = 16
                set paths (string match --regex -- '^[^\t]*/(?:\t.*)?$' $paths)
            end
            printf '%s\n' "$option"$paths
        case '*'
            printf '%s\n' "$option"(string match --invert --regex '^:[0-9]+$' -- $answer)
    end
end

function __calicoctl_protect_follows
    set -l words (commandline --current-process --tokenize --cut-at-cursor)
    contains -- protect $words[2..-1]
end

function __calicoctl_protect_first
    set -l words (commandline --current-process --tokenize --cut-at-cursor)
    test (count $words) -eq 1
end

complete --command calicoctl-protect --no-files --keep-order --arguments '(__calicoctl_protect_ask)'
complete --command calicoctl --condition __calicoctl_protect_follows --no-files --keep-order \
    --arguments '(__calicoctl_protect_ask)'
complete --command calicoctl --condition __calicoctl_protect_first --arguments protect \
    --description "protect Calico's own communications"
