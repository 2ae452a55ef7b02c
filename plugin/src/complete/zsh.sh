#compdef kubectl-mirrord_sessions
# zsh completion for kubectl-mirrord_sessions
_kubectl_mirrord_sessions() {
    local -a lines described
    local line value
    lines=("${(@f)$(kubectl-mirrord_sessions __complete "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
    [[ ${words[CURRENT]} == -*=* ]] && compset -P '*='
    if [[ ${lines[-1]} == ":0" ]]; then
        _files
        return
    fi
    for line in "${lines[@]}"; do
        [[ $line == :* || -z $line ]] && continue
        value=${line%%$'\t'*}
        value=${value//:/\\:}
        if [[ $line == *$'\t'* ]]; then
            described+=("$value:${line#*$'\t'}")
        else
            described+=("$value")
        fi
    done
    (( ${#described} )) && _describe -t mirrord-sessions 'mirrord sessions' described
}
if (( $+functions[compdef] )); then
    compdef _kubectl_mirrord_sessions kubectl-mirrord_sessions
fi
# Read by compinit from $fpath, instead of sourced.
if [[ $funcstack[1] == _kubectl-mirrord_sessions ]]; then
    _kubectl_mirrord_sessions "$@"
fi
