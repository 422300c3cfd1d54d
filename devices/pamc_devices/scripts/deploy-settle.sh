# Gives the folder deployments/"$2".part of the store "$1" its name, in the place of a damaged one.
cd "$1/deployments" && [ -d "$2.part" ] || exit
sync -f "$2.part" 2>/dev/null || sync
if [ -d "$2" ]; then
  mv "$2" "$2.old.part" || exit
fi
mv "$2.part" "$2" || exit
rm -rf "$2.old.part"
