# Takes the lock, the folder "$1", for the owner "$2", a line of text; status 75 and the present owner when somebody has
# it. With "$3", an owner that was found to be gone, that one's lock is removed first. Making a folder either works or
# does not, for one caller alone.
now=$(date +%s)
boot=
[ -r /proc/sys/kernel/random/boot_id ] && read -r boot </proc/sys/kernel/random/boot_id
if [ "$#" -eq 3 ] && mv "$1" "$1.gone-$$" 2>/dev/null; then
  owner=
  [ -r "$1.gone-$$/owner" ] && IFS= read -r owner <"$1.gone-$$/owner"
  # Somebody else was faster and this is the new lock: give it back.
  [ "$owner" = "$3" ] || mv "$1.gone-$$" "$1"
  rm -rf "$1.gone-$$"
fi
if mkdir "$1" 2>/dev/null; then
  printf "%s\n" "$now $boot $2" >"$1/owner" || {
    rm -rf "$1"
    exit 1
  }
  # Left by those who were killed while they removed a lock.
  for left in "$1".gone-*; do
    [ -d "$left" ] && rm -rf "$left"
  done
  exit 0
fi
# Not because of a lock: say why.
[ -d "$1" ] || { mkdir "$1"; exit 1; }
echo "$now $boot"
[ -r "$1/owner" ] && cat "$1/owner"
exit 75
