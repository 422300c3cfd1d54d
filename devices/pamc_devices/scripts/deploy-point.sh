# Lets the pointer "$2" of the store "$1" name the deployments "$3" (current) and "$4" (previous, may be empty): a file
# of two lines, complete on the disk before it takes its name, which no reader ever misses.
cd "$1/current" || exit
part=$2.part
printf '%s\n%s\n' "$3" "$4" >"$part" && { sync "$part" 2>/dev/null || sync; } && mv -f "$part" "$2" || {
  status=$?
  rm -f "$part"
  exit "$status"
}
