#!/usr/bin/env bash
# Puts a bundle in place on a machine without internet; ./install.sh --help says how.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -euo pipefail
usage='usage: ./install.sh DESTINATION [PYTHON]    check the bundle and install it to a new folder
       ./install.sh --verify                  only check that all files are as they were packed
PYTHON (default: python3.11) is needed if the bundle has wheels: Python 3.11 with venv.
example: ./install.sh /shared/geoagent /usr/bin/python3.11'
fail() { echo "error: $*" >&2; exit 2; }

case ${1:-} in
  -h | --help) echo "$usage"; exit 0 ;;
  --verify) [[ $# -eq 1 ]] || fail "$usage" ;;
  "" | -*) fail "$usage" ;;
  *) [[ $# -le 2 ]] || fail "$usage" ;;
esac
here=$(cd "$(dirname "$0")" && pwd -P)
sums=$here/SHA256SUMS
# Only what has a checksum is looked at: other files may be anybody's.
listed() { sed -n "s|^[0-9a-f]\{64\}  \($1\)\$|\1|p" "$sums"; }

[[ -s $sums ]] || fail "$here: no SHA256SUMS: the bundle was not finished or not copied whole"
count=$(wc -l < "$sums")
packed=$(sed -n 's/^  "files": \([0-9]*\).*/\1/p' "$here/MANIFEST.json") || fail "$here: has no MANIFEST.json; copy it again"
[[ $count == "$packed" ]] || fail "$sums: lists $count files, MANIFEST.json ${packed:-none}; copy both again"
gazetteer=$(listed 'gazetteer/.*\.sqlite')
search=$(listed 'search/.*\.sqlite')
[[ -n $gazetteer && -n $search ]] || fail "$sums: names no gazetteer or no index for search; pack again"
wheels=$(listed 'wheels/.*')

# What is wrong with the words is told before the minutes that checksums take.
if [[ $1 != --verify ]]; then
  to=$(realpath -m -- "$1")
  [[ $to/ != "$here"/* ]] || fail "$to: is in the bundle; name a new folder"
  if [[ -e $to ]]; then
    [[ -d $to && -r $to && -w $to && -x $to ]] || fail "$to: not a folder that can be written"
    [[ -z $(ls -A "$to") || -e $to/.installing ]] || fail "$to: exists and is not empty; name a new folder"
  fi
  python=${2:-python3.11}
  about='import ensurepip, sys, venv; print(*sys.version_info[:2])'
  if [[ -n $wheels && $("$python" -c "$about" 2>/dev/null) != "3 11" ]]; then
    fail "$python: Python 3.11 with venv is needed; name it: ./install.sh DESTINATION PYTHON"
  fi
fi

echo "checking $count files"
(cd "$here" && sha256sum --check --quiet --strict SHA256SUMS) || fail "the files above are not as they were packed; copy them again"
echo "all as they were packed"
[[ $1 != --verify ]] || exit 0

mkdir -p "$to" || fail "$to: cannot be made"
touch "$to/.installing" || fail "$to: cannot be written"
tar -xf "$here/source.tar" -C "$to" || fail "$to: the source could not be unpacked"
listed 'images/.*' | while read -r name; do
  mkdir -p "$to/images"
  rm -f "$to/$name"
  cp --link "$here/$name" "$to/$name" 2>/dev/null || cp "$here/$name" "$to/$name" || fail "$to/$name: could not be copied"
done
printf 'export %s=%q\n' GEOAGENT_GAZETTEER "$here/$gazetteer" GEOAGENT_SEARCH_INDEX "$here/$search" \
  > "$to/offline.env"

if [[ -n $wheels ]]; then
  trap 'if [[ -e $to/.installing ]]; then rm -rf "$to/.venv"; fi' EXIT
  # Settings of pip and Python could lead elsewhere than to this .venv.
  unset ${!PIP_*} PYTHONPATH PYTHONHOME
  export PIP_CONFIG_FILE=/dev/null PIP_NO_CACHE_DIR=1 DS_BUILD_OPS=0
  "$python" -m venv --clear "$to/.venv"
  install() {
    "$to/.venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-index \
      --find-links "$here/wheels" --no-deps --no-build-isolation "$@"
  }
  for set in build wheels models; do
    install --require-hashes -r "$here/requirements/$set.txt"
  done
  install --editable "$to"
  # What `make setup` would write: it must not fetch anything.
  (cd "$to" && cat requirements/*.txt scripts/setup.sh | sha256sum | cut -d' ' -f1 > .venv/.requirements)
else
  echo "no .venv, since the bundle has no wheels: whoever submits jobs needs one in $to"
fi
rm "$to/.installing"
printf 'installed to %s; before you use it: source %q\n' "$to" "$to/offline.env"
