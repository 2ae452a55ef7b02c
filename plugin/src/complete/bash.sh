# bash completion for kubectl-mirrord_sessions
__kubectl_mirrord_sessions() {
    local -a words=()
    local word glued="" out line value prefix
    # readline takes "=" and ":" for words of their own.
    for word in "${COMP_WORDS[@]:1:COMP_CWORD}"; do
        if [[ -n $glued || ( $word =~ ^[=:]+$ && ${#words[@]} -gt 0 ) ]]; then
            words[${#words[@]} - 1]+=$word
            glued=""
            [[ $word =~ ^[=:]+$ ]] && glued=yes
        else
            words+=("$word")
        fi
    done
    COMPREPLY=()
    out=$(kubectl-mirrord_sessions __complete "${words[@]}" 2>/dev/null) || return
    word=${words[${#words[@]} - 1]}
    [[ $word == -*=* ]] && word=${word#*=}
    if [[ ${out##*$'\n'} == ":0" ]]; then
        local IFS=$'\n'
        COMPREPLY=($(compgen -f -- "$word"))
        compopt -o filenames 2>/dev/null
        return
    fi
    # Only what stands behind the last ":" is replaced.
    prefix=""
    [[ $word == *:* && $COMP_WORDBREAKS == *:* ]] && prefix=${word%"${word##*:}"}
    while IFS= read -r line; do
        [[ $line == ":"* || -z $line ]] && continue
        value=${line%%$'\t'*}
        [[ $value == "$word"* ]] || continue
        # The list that a second tab shows has room for what each one is.
        if [[ $COMP_TYPE == 63 && $line == *$'\t'* ]]; then
            value+="  (${line#*$'\t'})"
        fi
        COMPREPLY+=("${value#"$prefix"}")
    done <<<"$out"
    if [[ $COMP_TYPE == 63 && ${#COMPREPLY[@]} -eq 1 ]]; then
        COMPREPLY[0]=${COMPREPLY[0]%%  (*}
    fi
}
complete -F __kubectl_mirrord_sessions kubectl-mirrord_sessions
