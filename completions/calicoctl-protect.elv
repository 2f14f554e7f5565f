# Completion for elvish: of calicoctl-protect, and of `calicoctl protect` beside calicoctl's own.
# It asks the program, which knows the servers, nodes and namespaces of the cluster.

use re
use str

fn calicoctl-protect-ask {|@words|
  var lines = []
  try {
    set lines = [((external $words[0]) __complete (all $words[1..]) 2>/dev/null)]
  } catch {
    # A program that does not answer has nothing to offer.
  }
  # What completes --option=value is the value alone.
  var option = (re:replace '(?s)^(-[^=]*=)?.*$' '$1' $words[-1])
  var suffix = ' '
  for line $lines {
    if (re:match '^:(6|7|2|3)$' $line) {
      set suffix = ''
    } elif (re:match '^:(0|16)$' $line) {
      for path [(edit:complete-filename $words[-1][(count $option)..])] {
        edit:complex-candidate $option$path[stem] &code-suffix=$path[code-suffix] &display=$path[display]
      }
    }
  }
  for line $lines {
    if (not (re:match '^:[0-9]+$' $line)) {
      var value help = (str:split &max=2 "\t" $line"\t")
      set help = (str:trim-space $help)
      var display = $value
      if (not-eq $help '') {
        set display = $value'  ('$help')'
      }
      edit:complex-candidate $option$value &code-suffix=$suffix &display=$display
    }
  }
}

set edit:completion:arg-completer[calicoctl-protect] = $calicoctl-protect-ask~

var calicoctl-protect-before = {|@words| }
if (has-key $edit:completion:arg-completer calicoctl) {
  set calicoctl-protect-before = $edit:completion:arg-completer[calicoctl]
}

set edit:completion:arg-completer[calicoctl] = {|@words|
  if (has-value $words[1..-1] protect) {
    calicoctl-protect-ask $@words
  } else {
    if (== (count $words) 2) {
      edit:complex-candidate protect &code-suffix=' '
    }
    $calicoctl-protect-before $@words
  }
}
