# Completion for PowerShell: of calicoctl-protect, and of `calicoctl protect`.
# It asks the program, which knows the servers, nodes and namespaces of the cluster.

$calicoctlProtectAsk = {
    param($wordToComplete, $commandAst, $cursorPosition)

    $before = @($commandAst.CommandElements | Where-Object {
            $_.Extent.EndOffset -le $cursorPosition
        } | ForEach-Object {
            if ($_ -is [System.Management.Automation.Language.StringConstantExpressionAst]) { $_.Value } else { $_.Extent.Text }
        })
    $program = $before[0]
    $words = @($before | Select-Object -Skip 1)
    # The word at the cursor is the last; behind a blank it is an empty one.
    if ($wordToComplete -ne '' -and $words.Count -gt 0) {
        $words = @($words | Select-Object -SkipLast 1)
    }
    $isCalicoctl = (Split-Path -Leaf $program) -match '^calicoctl(\.exe)?$'
    if ($isCalicoctl -and $words.Count -eq 0 -and 'protect'.StartsWith($wordToComplete)) {
        [System.Management.Automation.CompletionResult]::new('protect', 'protect', 'ParameterValue', "protect Calico's own communications")
    }
    $last = $wordToComplete
    # Before version 7.3, empty arguments are not handed on unless they are quoted.
    if ($last -eq '' -and $PSVersionTable.PSVersion -lt [version]'7.3.0') {
        $last = '""'
    }
    # An answer ends with a number. calicoctl gives one for its own commands (v3.33), or none.
    $answer = @(& $program __complete @words $last 2>$null)
    if ($answer.Count -eq 0 -or $answer[-1] -notmatch '^:\d+$') {
        return
    }
    # What completes --option=value is the value alone. Where there is none, PowerShell looks for files.
    $option = if ($wordToComplete -match '^-[^=]*=') { $Matches[0] } else { '' }
    $answer | Select-Object -SkipLast 1 | ForEach-Object {
        $value, $help = $_ -split "`t", 2
        if (-not $help) {
            $help = $value
        }
        $shown = $value
        $value = $option + $value
        if ($value -match '[\s''"*`$;&|()]') {
            $value = "'" + $value.Replace("'", "''") + "'"
        }
        [System.Management.Automation.CompletionResult]::new($value, $shown, 'ParameterValue', $help)
    }
}

Register-ArgumentCompleter -Native -CommandName 'calicoctl-protect', 'calicoctl' -ScriptBlock $calicoctlProtectAsk
