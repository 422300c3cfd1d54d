# Gives objects that arrived their names, in the store "$1", when their content is right, and removes all others that
# arrived. Stdin: a sha256 and a mode (octal) a line. The bytes reach the disk before the name does.
command -v sha256sum >/dev/null || { echo "sha256sum: not found" >&2; exit 127; }
cd "$1/objects" || exit
while read -r sha mode; do
  part=$sha.part
  [ -f "$part" ] || continue
  sum=$(sha256sum <"$part") || exit
  if [ "${sum%% *}" = "$sha" ]; then
    chmod "$mode" "$part" && { sync "$part" 2>/dev/null || sync; } && mv -f "$part" "$sha" || exit
  fi
done
rm -f ./*.part
