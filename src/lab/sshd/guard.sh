# The guard of a private SSH server: sh -c THIS guard FOLDER COMMAND...
# Orders come on standard input, one a line:
#   start   runs COMMAND; its output goes where ours goes
#   stop    ends it and everything that it has started
# End of file comes however our parent ends: then all of that ends, and FOLDER goes.
exec 2>&1
folder=$1 job=
shift

# Stopped first, so that none is born while the others are listed.
end() {
    kill -STOP "$1" || return
    for child in $(cat "/proc/$1"/task/*/children); do end "$child"; done
    kill -KILL "$1"
} 2>/dev/null

# A command that outlives its session is nobody's child any more; its environment still tells.
orphans() { grep -lszFx "WAITCOPY_SSHD=$folder" /proc/[0-9]*/environ | cut -d/ -f3; }

stop() {
    if [ -n "$job" ]; then
        kill -STOP "$job"
        servers=$(cat "/proc/$job"/task/*/children)
        for server in $servers; do end "$server"; done
        # The job waits for the server: its end says that the port is closed. One that has not begun yet never shall.
        if [ -n "$servers" ]; then kill -CONT "$job"; else kill -KILL "$job"; fi
        wait "$job"
    fi 2>/dev/null
    job=
    # One of them may have begun another while they were being listed.
    for round in 1 2 3 4 5; do
        left=$(orphans)
        [ -n "$left" ] || break
        for process in $left; do end "$process"; done
    done
}

while read -r order; do
    case $order in
    start)
        {
            sh -c 'echo "guard: started $$"; export WAITCOPY_SSHD="$0"; exec "$@"' "$folder" "$@"
            echo 'guard: ended'
        } </dev/null &
        job=$! ;;
    stop)
        stop
        echo 'guard: stopped' ;;
    esac
done
stop
rm -rf -- "$folder"
