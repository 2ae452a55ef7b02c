# The reaper outlives its owner, kills the owner's processes and removes the owner's folder.
#
# $1 is the folder to remove. stdin is a pipe that only the owner holds open. Each line is
# `group PID` or `process PID`. End of file means that the owner has ended.

# Signals from a terminal are meant for the owner. The reaper ends at end of file alone.
trap '' HUP INT TERM

# The owner's PATH may lack rm, sleep and ps.
PATH=$PATH:/usr/bin:/bin

# Prints the start time of a process, which distinguishes it from a later process with its PID.
start_time() {
    if [ -r "/proc/$1/stat" ]; then
        read -r stat <"/proc/$1/stat" || return
        # The start time is the 20th field after the command name. The name is in brackets and may
        # contain any character.
        set -- ${stat##*) }
        echo "${20}"
    else
        ps -o lstart= -p "$1" | tr -s ' ' _
    fi
}

registered=
while read -r kind pid; do
    registered="$registered $kind:$pid:$(start_time "$pid")"
done

for entry in $registered; do
    kind=${entry%%:*}
    entry=${entry#*:}
    pid=${entry%%:*}
    start=${entry#*:}
    [ -n "$start" ] && [ "$(start_time "$pid")" = "$start" ] || continue
    case $kind in
    group) kill -9 "-$pid" ;;
    process) kill -9 "$pid" ;;
    esac
done

# A killed process may have been writing. A file can appear after rm has emptied a folder and before
# rm removes it.
tries=0
while [ -e "$1" ] && [ "$tries" -lt 50 ]; do
    [ "$tries" -eq 0 ] || sleep 0.1
    rm -rf -- "$1"
    tries=$((tries + 1))
done
