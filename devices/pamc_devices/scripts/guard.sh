# Runs the command "$@" so that it cannot outlive its time or its caller. Set before: token, limit (seconds), size (bytes
# of input for the command) and folder (for that input). What follows the input on stdin is the lifeline: it ends when
# the caller is gone. Needs a POSIX shell and setsid, head, mktemp, rm and sleep. Of those
# it starts few: where the processor is emulated, each takes a tenth of a second.
echo "$token"
echo "$token" >&2
# Messages that pamc recognises.
LC_ALL=C
export LC_ALL
input=/dev/null
if [ "$size" -gt 0 ]; then
  input=$(mktemp "$folder/pamc-input.XXXXXX") && head -c "$size" >"$input" || {
    rm -f "$input"
    echo "
$token 1 input" >&2
    exit 0
  }
fi
exec 3<&0 4<"$input" 5>&2
[ "$size" -gt 0 ] && rm -f "$input"
# A session of its own: its number is that of the process, and all children share it.
setsid "$@" <&4 3<&- 4<&- 5>&- &
command=$!
how=ended
trap 'how=timeout' USR1
# The timer and the lifeline; reading is the shell's own, so that one more program need not start.
setsid sh -c '
  { sleep "$2"; kill -USR1 "$3"; } &
  while read -r _; do :; done
  kill -TERM "-$1"
  sleep 1
  kill -KILL "-$1" "-$$"
' sh "$command" "$limit" "$$" <&3 3<&- 4<&- 5>&- >/dev/null 2>&1 &
watch=$!
exec 3<&- 4<&-
# Some shells write "Killed" here.
exec 2>/dev/null
wait "$command"
status=$?
if [ "$how" = timeout ]; then
  # Not by a second `wait`: after a signal, that of bash may never return.
  kill -TERM "-$command"
  sleep 1
fi
# By number as well as by session: setsid may not have come to run yet.
kill -KILL "-$command" "$watch" "-$watch"
echo "
$token $status $how" >&5
exit 0
