# The keeper: outlives its owner, however that one ends, and cleans up after it.
#
# $1 is the folder to remove. stdin is a pipe that only the owner holds open: a line is
# `group PID` or `process PID`, and its end is the end of the owner.

# A terminal's signals are for the owner; its end is what counts here.
trap '' HUP INT TERM

# The owner's PATH need not lead to rm, sleep and ps.
PATH=$PATH:/usr/bin:/bin

# When a process was started, which tells it from a later one of the same number.
born() {
    if [ -r "/proc/$1/stat" ]; then
        read -r stat <"/proc/$1/stat" || return
        # After the name in brackets, which may hold anything, the start is the 20th field.
        set -- ${stat##*) }
        echo "${20}"
    else
        ps -o lstart= -p "$1" | tr -s ' ' _
    fi
}

kept=
while read -r kind pid; do
    kept="$kept $kind:$pid:$(born "$pid")"
done

for entry in $kept; do
    kind=${entry%%:*}
    entry=${entry#*:}
    pid=${entry%%:*}
    start=${entry#*:}
    [ -n "$start" ] && [ "$(born "$pid")" = "$start" ] || continue
    case $kind in
    group) kill -9 "-$pid" ;;
    process) kill -9 "$pid" ;;
    esac
done

# What was killed may have been writing: a file can appear between emptying a folder and removing
# it.
tries=0
while [ -e "$1" ] && [ "$tries" -lt 50 ]; do
    [ "$tries" -eq 0 ] || sleep 0.1
    rm -rf -- "$1"
    tries=$((tries + 1))
done
