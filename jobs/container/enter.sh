# The rest is the same for every stage; what is above says which image, and what it sees.
#
# It runs on the node, outside the image. It checks what would make the job fail later, and becomes
# the image's Python with the given arguments: Slurm's signals go to the process that it started, and
# where it keeps processes in cgroups to no other.
set -uo pipefail
# Slurm's warning would end this script, and a job that ends so is not run again.
[[ ${SUBMITIT_EXECUTOR:-} == local ]] || trap '' USR2 TERM
mask=$(umask)
umask 077
scratch='' # whatever the environment has by this name
folder=$(pwd -P)
node=${SLURMD_NODENAME:-$(uname -n)}
job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}
job=${job:-${SLURM_JOB_ID:-here}}
[[ ${SUBMITIT_EXECUTOR:-} == local ]] && job=${SUBMITIT_LOCAL_JOB_ID:-here}
told=$home/container/refused/$job.${SLURM_RESTART_COUNT:-0}

refuse() { # the message goes into the log, and where `status` finds it
  echo "error: node $node: $1" >&2
  mkdir -p "$told" && printf 'node %s: %s\n' "$node" "$1" > "$told/$node"
  [[ -n $scratch ]] && rm -rf "$scratch"
  exit 2
}

elsewhere="or leave the node out with cluster.additional.exclude=$node"

# Of this program: relay.sh removes it. Of this user: what later jobs on the node need not do again.
make_scratch() {
  local base=${SLURM_TMPDIR:-${TMPDIR:-/tmp}} mine old pid
  mine=$base/geoagent-$UID-$node # by node, lest it be a folder that nodes share
  kept=$base/geoagent-$UID
  mkdir -p "$kept" 2>/dev/null && [[ -O $kept && ! -L $kept ]] &&
    scratch=$(mktemp -d "$mine-$$-XXXXXX" 2>/dev/null) ||
    refuse "$base cannot be written: name a folder on its own disk in TMPDIR (cluster.setup), $elsewhere"
  for old in "$mine"-*-*; do # of a job that was killed
    pid=${old#"$mine-"}
    [[ -O $old ]] && ! kill -0 "${pid%%-*}" 2>/dev/null && rm -rf "$old"
  done
  mkdir -p "$scratch/home" "$scratch/tmp" "$scratch/cache" "$scratch/relay"
  mkfifo "$scratch/relay/bell" # what asks before the relay is up waits in it
}

check_image() {
  [[ -f $image ]] || refuse "there is no image $image: is its file system mounted here?"
  [[ -r $image ]] || refuse "$image may not be read here"
  local facts found seen=$kept/sha256-$digest
  facts=$(stat -L -c '%d %i %s %Y' "$image")
  [[ -f $seen && $(< "$seen") == "$facts" ]] && return
  found=$(sha256sum < "$image") || refuse "$image cannot be read to its end"
  [[ ${found%% *} == "$digest" ]] ||
    refuse "$image is another one than at submission (sha256 ${found:0:12}…, not ${digest:0:12}…): put that back, or submit again"
  echo "$facts" > "$seen.$$" && mv "$seen.$$" "$seen"
}

check_node() {
  local bind
  for bind in "${binds[@]}"; do
    [[ -e ${bind%%:*} ]] || refuse "${bind%%:*} is not there, and jobs are to see it (container.binds, or a path of the configuration): is its file system mounted?"
  done
  if ((gpus > 0)) && ! compgen -G '/dev/nvidia[0-9]*' > /dev/null; then
    refuse "there is no /dev/nvidia* here, and $stage asks for $gpus GPUs a node: see that its driver is loaded, $elsewhere"
  fi
}

# Beside the image: it runs Slurm's commands, which stay outside, for programs inside, and removes the
# scratch folder when they have ended.
start_relay() {
  local text
  text=$(< "$home/container/relay.sh") # now: the file may be gone when the relay begins
  commands=
  command -v scontrol > /dev/null && commands=$home/container/bin
  bash -c "$text" relay.sh "$scratch" $$ < /dev/null > /dev/null 2>&1 &
  inside+=("GEOAGENT_RELAY=$scratch/relay")
}

matches() { # NAME PATTERN…
  local name=$1 pattern
  for pattern in "${@:2}"; do
    # shellcheck disable=SC2053  # it is a pattern
    [[ $name == $pattern ]] && return
  done
  return 1
}

# Before what is set from here, which counts: variables that are let in.
let_variables_in() {
  local entry name let=()
  while IFS= read -r -d '' entry; do
    name=${entry%%=*}
    [[ $name =~ ^[A-Za-z_][A-Za-z0-9_]*$ ]] || continue
    if matches "$name" "${named[@]}" || { matches "$name" "${let_in[@]}" && ! matches "$name" "${kept_out[@]}"; }; then
      let+=("$entry")
    fi
  done < <(env -0)
  inside=("${let[@]}" "${inside[@]}")
}

# Through the environment, never on the command line, which everybody on the node can read.
run_apptainer() {
  local program entry bind
  program=$(command -v apptainer || command -v singularity) ||
    refuse "there is no apptainer here: load its module (cluster.modules), $elsewhere"
  start_relay
  [[ -n $commands ]] && inside+=("PREPEND_PATH=$commands")
  for entry in "${inside[@]}"; do
    export "APPTAINERENV_${entry?}" "SINGULARITYENV_${entry?}"
  done
  local options=(--cleanenv --home "$scratch/home" --pwd "$folder")
  ((gpus > 0)) && options+=(--nv)
  for bind in "${binds[@]}"; do options+=(--bind "$bind"); done
  options+=(--bind "$scratch" --bind /dev/shm)
  [[ -d /dev/infiniband ]] && options+=(--bind /dev/infiniband)
  umask "$mask"
  trap - USR2 TERM
  exec "$program" exec "${options[@]}" "$image" "$python" "$@"
}

unpack() {
  local root=$1
  (
    flock 9
    [[ -d $root ]] && exec touch "$root" "$root.lock"
    find "$kept" -mindepth 1 -maxdepth 1 -mtime +30 -exec rm -rf {} + # images that nobody uses now
    rm -rf "$root.part"
    unsquashfs -q -n -no-xattrs -d "$root.part" "$image" > /dev/null && exec mv "$root.part" "$root"
    rm -rf "$root.part"
    exit 1
  ) 9> "$root.lock" || refuse "$image could not be unpacked to $kept: is there room, and is it a SquashFS file?"
}

run_charliecloud() {
  local entry bind target root=$kept/$digest
  command -v ch-run > /dev/null || refuse "there is no ch-run here: load its module (cluster.modules), $elsewhere"
  unpack "$root"
  start_relay
  inside+=("HOME=$scratch/home" "PATH=${commands:+$commands:}${python%/*}:/usr/local/bin:/usr/bin:/bin")
  for entry in "${inside[@]}"; do # a file has a variable a line
    [[ $entry == *$'\n'* ]] || printf '%s\n' "$entry"
  done > "$scratch/environment"
  export USER=${USER:-$(id -un)} TMPDIR=/tmp # it wants the one, and takes the other for the image's /tmp
  local options=(--cd "$folder" --env-no-expand '--unset-env=*' "--set-env=$scratch/environment")
  for bind in "${binds[@]}" "$scratch"; do
    bind=${bind%:r[ow]} # it has no binds that are only read
    target=$root${bind#*:}
    if [[ -d ${bind%%:*} ]]; then mkdir -p "$target"; else mkdir -p "${target%/*}" && touch "$target"; fi
    options+=(--bind "$bind")
  done
  umask "$mask"
  trap - USR2 TERM
  exec ch-run "${options[@]}" "$root" -- "$python" "$@"
}

# What was told of the job when it ran before no longer holds.
compgen -G "${told%.*}.*" > /dev/null && mkdir -p "$told" && rm -f "$told/$node"
make_scratch
check_image
check_node
inside+=(
  "TMPDIR=$scratch/tmp" "XDG_CACHE_HOME=$scratch/cache"
  "HF_HOME=$scratch/cache/huggingface" "TRITON_CACHE_DIR=$scratch/cache/triton"
)
let_variables_in
"run_$runtime" "$@"
refuse "$runtime could not be started"
