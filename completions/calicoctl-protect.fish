# Completion for fish: of calicoctl-protect, and of `calicoctl protect` beside calicoctl's own.
# It asks the program, which knows the servers, nodes and namespaces of the cluster.

function __calicoctl_protect_ask
    set -l words (commandline --current-process --tokenize --cut-at-cursor)
    set -l typed (commandline --current-token --cut-at-cursor)
    # A quote that is still open is none of the word's.
    set -l last (string unescape -- "$typed"; or string trim --left --chars "'\"" -- "$typed")
    string match --invert --regex '^:[0-9]+$' -- ($words[1] __complete $words[2..-1] "$last" 2>/dev/null)
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
