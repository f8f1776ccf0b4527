# Runs a program and kills it when whoever started it is gone.
#   sh -c "$(cat supervisor.sh)" supervisor LOG PROGRAM [ARGUMENT...]
# Standard input is a pipe that the starter holds open and never writes to: the kernel closes it when the starter
# dies, however it dies. The program's own pid is the first line on standard output; after that LOG gets what the
# program prints, or standard output where LOG is "-". The exit status is the program's, 128 + n for signal n.
exec 3<&0
sh -c 'echo $$; [ "$0" = - ] || exec >>"$0" 2>&1; exec "$@"' "$@" </dev/null 3<&- &
child=$!
gone=
trap 'gone=1; kill -KILL "$child" 2>/dev/null' TERM
# `read` ends at end of file, and tells the main shell, so that the one who may wait for the program reaps it.
(read -r _; kill -TERM $$) <&3 >/dev/null 2>&1 3<&- &
watcher=$!
exec 3<&- </dev/null
wait "$child"
status=$?
[ -n "$gone" ] || kill -KILL "$watcher" 2>/dev/null
wait "$child" "$watcher" 2>/dev/null
# Children of the program do not outlive it either.
[ -z "$gone" ] || kill -KILL 0
exit "$status"
