# Completion of kubectl-culvert for bash: source <(kubectl culvert completion bash)
_kubectl_culvert() {
    local line out directive
    COMPREPLY=()
    out=$("${COMP_WORDS[0]}" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null) || return
    directive=${out##*:}
    while IFS= read -r line; do
        [[ $line == :* ]] || COMPREPLY+=("${line%%$'\t'*}")
    done <<<"$out"
    if [[ $directive == 0 && ${#COMPREPLY[@]} -eq 0 ]]; then
        compopt -o default 2>/dev/null
    fi
}
complete -F _kubectl_culvert kubectl-culvert
