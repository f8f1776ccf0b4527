# Completion of kubectl-culvert for fish: kubectl culvert completion fish | source
function __kubectl_culvert
    set -l words (commandline -opc) (commandline -ct)
    $words[1] __complete $words[2..-1] 2>/dev/null | string match -v -r '^:'
end
complete -c kubectl-culvert -f -a '(__kubectl_culvert)'
complete -c kubectl-culvert -l kubeconfig -l private-key -l out -r -F
