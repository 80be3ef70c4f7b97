#!/usr/bin/env bash
# A training run on a Cloud TPU slice, from one's own machine: every worker (host) of the slice does each command.
#
#   launch_tpu.sh [--dry-run] create  NAME --zone=Z --type=v5litepod-16 [--version=V] [--project=P] [--spot]
#   launch_tpu.sh [--dry-run] install NAME --zone=Z [--project=P] [--share=HOST:/PATH]
#   launch_tpu.sh [--dry-run] run     NAME --zone=Z [--project=P] -- --config=configs/vg_lrw.py --workdir=shared/runs/vg
#   launch_tpu.sh [--dry-run] resume  NAME (the options of create and install) -- (the flags of run)
#   launch_tpu.sh [--dry-run] status  NAME --zone=Z [--project=P]
#   launch_tpu.sh [--dry-run] collect NAME --zone=Z [--project=P] --from=shared/runs/vg --to=runs/vg
#   launch_tpu.sh [--dry-run] delete  NAME --zone=Z [--project=P]
#
# install copies this checkout, makes a virtual environment and mounts an NFS share (Filestore) as ~/atvg/shared:
# workdir and data must lie where all workers see them. run starts `atvg train --distributed` in the background
# (log: ~/atvg/train.log). resume makes a slice anew that was taken away, or uses the one that is there, and starts the
# same training, which goes on from its newest checkpoint. --dry-run prints the commands instead.
set -euo pipefail

die() { echo "launch_tpu.sh: $*" >&2; exit 2; }

dry=false
if [[ "${1:-}" == --dry-run ]]; then dry=true; shift; fi
(( $# >= 2 )) || die 'which command, and which slice? See the head of this file'
command=$1 name=$2
shift 2
[[ "$name" =~ ^[a-z][a-z0-9-]*$ ]] || die "'$name' is no name of a slice: lower-case letters, digits and dashes"

zone='' project='' type='' version='' share='' from='' to='' spot=false
flags=()
while (( $# )); do
  case $1 in
    --zone=*|--project=*|--type=*|--version=*|--share=*|--from=*|--to=*)
      option=${1%%=*}; printf -v "${option#--}" '%s' "${1#*=}";;
    --spot) spot=true;;
    --) shift; flags=("$@"); break;;
    *) die "what is '$1'? Flags of atvg train follow after --";;
  esac
  shift
done
[[ -n "$zone" ]] || die '--zone is missing, for instance --zone=us-west4-a'
where=(--zone="$zone")
if [[ -n "$project" ]]; then where+=(--project="$project"); fi

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

call() {  # runs a command, or prints it as it could be typed
  if $dry; then printf '%q ' "$@"; echo; else "$@"; fi
}

tpu() { call gcloud compute tpus tpu-vm "$@"; }

on_all() { tpu ssh "$name" "${where[@]}" --worker=all --command="$1"; }

state() {  # READY, PREEMPTED, ..., or nothing where there is no slice
  if $dry; then echo "${LAUNCH_TPU_STATE-}"; return; fi
  gcloud compute tpus tpu-vm describe "$name" "${where[@]}" --format='value(state)' 2>/dev/null || true
}

workers() {
  if $dry; then echo "${LAUNCH_TPU_WORKERS:-2}"; return; fi
  gcloud compute tpus tpu-vm describe "$name" "${where[@]}" --format='value(networkEndpoints.len())'
}

create() {
  [[ -n "$type" ]] || die '--type is missing, for instance --type=v5litepod-16'
  if [[ -z "$version" ]]; then
    case $type in
      v5litepod-*) version=v2-alpha-tpuv5-lite;;
      v5p-*) version=v2-alpha-tpuv5;;
      v6e-*) version=v2-alpha-tpuv6e;;
      *) version=tpu-ubuntu2204-base;;
    esac
  fi
  local more=()
  if $spot; then more+=(--spot); fi
  tpu create "$name" "${where[@]}" --accelerator-type="$type" --version="$version" ${more[@]+"${more[@]}"}
}

install() {
  local archive
  archive=$(mktemp -d)/atvg.tar.gz
  call tar -C "$root" --exclude=.git --exclude='./data' --exclude='./runs' -czf "$archive" .
  tpu scp "$archive" "$name:atvg.tar.gz" "${where[@]}" --worker=all
  # shellcheck disable=SC2016  # the workers' own variables
  local steps='set -e; mkdir -p ~/atvg; tar -C ~/atvg -xzf ~/atvg.tar.gz
command -v uv >/dev/null || python3 -m pip install --user --quiet uv; export PATH=$HOME/.local/bin:$PATH
cd ~/atvg; test -d venv || uv venv --quiet --python 3.11 venv
uv pip install --quiet --python venv/bin/python -e ".[tpu]"'
  if [[ -n "$share" ]]; then
    steps+=$'\n'"sudo apt-get install -qq -y nfs-common; mkdir -p ~/atvg/shared"
    steps+=$'\n'"mountpoint -q ~/atvg/shared || sudo mount -t nfs -o hard $(printf '%q' "$share") ~/atvg/shared"
  fi
  on_all "$steps"
}

train() {
  (( ${#flags[@]} )) || die 'the flags of atvg train are missing: -- --config=... --workdir=...'
  local quoted
  printf -v quoted ' %q' "${flags[@]}"
  # A worker that still trains must save and go before it is started again.
  on_all "cd ~/atvg; test -f train.pid && kill -TERM \$(cat train.pid) 2>/dev/null && tail --pid=\$(cat train.pid) -f /dev/null
setsid nohup venv/bin/atvg train --distributed$quoted >> train.log 2>&1 < /dev/null & echo \$! > train.pid"
}

case $command in
  create) create;;
  install) install;;
  run) train;;
  resume)
    found=$(state)
    if [[ "$found" != READY ]]; then
      if [[ -n "$found" ]]; then tpu delete "$name" "${where[@]}" --quiet; fi
      create
      install
    fi
    train;;
  status)
    tpu describe "$name" "${where[@]}" --format='value(state)'
    on_all "hostname; tail -c 300 ~/atvg/train.log | tr '\\r' '\\n' | tail -n 1";;
  collect)
    [[ -n "$from" && -n "$to" ]] || die 'collect needs --from=WORKDIR (as given to run) and --to=FOLDER'
    call mkdir -p "$to"
    tpu scp --recurse "$name:atvg/$from" "$to" "${where[@]}" --worker=0
    count=$(workers)
    for (( worker = 0; worker < count; worker++ )); do
      tpu scp "$name:atvg/train.log" "$to/train.$worker.log" "${where[@]}" --worker="$worker"
    done;;
  delete) tpu delete "$name" "${where[@]}" --quiet;;
  *) die "'$command' is no command: create, install, run, resume, status, collect or delete";;
esac
