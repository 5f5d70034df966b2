#!/bin/bash
# Beside an image, outside, for as long as the process that started it, which is what runs inside.
# It runs Slurm's commands for programs inside (see ask.sh): an image has neither them nor the key
# they are known by. When that process has ended it removes SCRATCH, which is this user's alone.
set -uo pipefail
scratch=$1 folder=$1/relay program=$2 # its pid
trap '' TERM INT USR1 USR2 # a job that asks to be requeued has more to ask while Slurm ends it
exec 3<> "$folder/bell"

allowed() {
  case "$1 ${2:-}" in
    "scontrol ping" | "scontrol show" | "scontrol requeue" | "scontrol update") ;;
    "sbatch --test-only" | squeue\ * | sacct\ *) ;;
    *) return 1 ;;
  esac
}

answer() {
  local name=$folder/$1 words
  mapfile -d '' -t words < "$name.ask"
  if allowed "${words[@]}"; then
    timeout 120 "${words[@]}" < /dev/null > "$name.out" 2> "$name.err"
  else
    echo "error: ${words[*]:0:2}: is not let out of the image" > "$name.err"
    : > "$name.out"
    false
  fi
  echo $? > "$name.part"
  mv "$name.part" "$name.code"
}

while kill -0 "$program" 2> /dev/null; do
  read -r -t 1 -u 3 id || continue
  [[ $id =~ ^[0-9]+-[0-9]+$ ]] && answer "$id" &
done
rm -rf "$scratch"
