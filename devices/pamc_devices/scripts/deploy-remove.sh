# Removes what stdin names, a path a line, from the store "$1". A folder loses its name first, so that half of one never
# looks whole.
cd "$1" || exit
while IFS= read -r path; do
  if [ -d "$path" ]; then
    rm -rf "$path.part" && mv "$path" "$path.part" && rm -rf "$path.part" || exit
  else
    rm -rf "$path" "$path.part" || exit
  fi
done
exit 0
