# Makes the folder deployments/"$2".part of the store "$1" from objects. Stdin: a sha256 and a path a line. Hard links
# where the file system has them; no symbolic ones, which ONNX Runtime follows and then refuses the weights beside them.
cd "$1/deployments" && rm -rf "$2.part" && mkdir "$2.part" && cd "$2.part" || exit
while read -r sha path; do
  case $path in
    */*) mkdir -p "${path%/*}" || exit ;;
  esac
  ln "../../objects/$sha" "$path" 2>/dev/null || cp -p "../../objects/$sha" "$path" || exit
done
exit 0
