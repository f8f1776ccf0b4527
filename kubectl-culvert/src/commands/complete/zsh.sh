#compdef kubectl-culvert
# Completion of kubectl-culvert for zsh: source <(kubectl culvert completion zsh)
_kubectl_culvert() {
    local -a choices
    local line directive
    while IFS= read -r line; do
        case $line in
            :*) directive=${line#:} ;;
            *$'\t'*) choices+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}") ;;
            *) choices+=("${line//:/\\:}") ;;
        esac
    done < <("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)
    if (( ${#choices} )); then
        _describe 'kubectl culvert' choices
    elif [[ $directive == 0 ]]; then
        _files
    fi
}
compdef _kubectl_culvert kubectl-culvert
