# Says what the store in the folder "$1" holds; changes nothing. One line a fact, its kind first.
df -Pk "$1" | while IFS= read -r line; do printf 'df %s\n' "$line"; done
cd "$1/store" 2>/dev/null || exit 0
for file in objects/*; do
  [ -f "$file" ] && printf 'object %s\n' "${file#*/}"
done
for folder in deployments/*; do
  [ -d "$folder" ] || continue
  text=
  [ -f "$folder/deployment.json" ] && IFS= read -r text <"$folder/deployment.json"
  printf 'deployment %s %s\n' "${folder#*/}" "$text"
done
for file in current/*; do
  [ -f "$file" ] || continue
  now= before=
  { IFS= read -r now; IFS= read -r before; } <"$file"
  printf 'pointer %s %s %s\n' "${file#*/}" "$now" "$before"
done
exit 0
