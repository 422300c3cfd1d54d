# Makes the store in the folder "$1", removes what an interrupted pamc left unfinished there, and says whether files can
# have two names. Not removed: objects that arrived and were not checked yet.
cd "$1" && mkdir -p store/objects store/deployments store/current && cd store || exit
rm -rf deployments/*.part current/*.part objects/*.part-* || exit
: >current/link.part || exit
ln current/link.part deployments/link.part 2>/dev/null && echo links
rm -f current/link.part deployments/link.part
