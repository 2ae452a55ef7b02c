# fish completion for kubectl-mirrord_sessions
function __kubectl_mirrord_sessions
    set -l words (commandline -opc)
    set -e words[1]
    set -l current (commandline -ct)
    set -l lines (kubectl-mirrord_sessions __complete $words "$current" 2>/dev/null)
    set -l flag (string match -r -- '^-[^=]*=' "$current")
    if test "$lines[-1]" = ":0"
        __fish_complete_path (string replace -r -- '^-[^=]*=' '' "$current")
        return
    end
    for line in $lines
        string match -q -- ':*' $line; or echo "$flag$line"
    end
end
complete -c kubectl-mirrord_sessions -f -a '(__kubectl_mirrord_sessions)'
