# Writes the file "$1" from stdin: beside its place first, renamed when complete. Set before: token, size (bytes),
# mode (octal) and part (the name until it is complete). When the caller goes away stdin ends too early, and the part
# is removed here, where no connection is needed for it.
echo "$token"
echo "$token" >&2
LC_ALL=C
export LC_ALL
trap 'rm -f "$part"' HUP INT TERM
# mv would put the file into a folder of that name.
if [ -d "$1" ]; then
  printf "%s: Is a directory\n" "$1" >&2
  status=1
else
  (
    umask 077
    head -c "$size" >"$part" || exit
    written=$(wc -c <"$part") || exit
    [ "$((written))" -eq "$size" ] || { echo "cut off after $((written)) of $size bytes" >&2; exit 1; }
    chmod "$mode" "$part" && mv -f "$part" "$1"
  )
  status=$?
  [ "$status" -eq 0 ] || rm -f "$part"
fi
echo "
$token $status ended" >&2
exit 0
