#!/usr/bin/env bash
# From raw clips to the packaged weights: converts, trains both nets, packs and scores them.
#
#   train_release.sh GRID LRW_AR [smoke]
#
# GRID and LRW_AR are the folders of the two corpora, in their own layout. Everything goes into data/ and runs/ of the
# current folder, in which configs/ must lie. Every stage goes on where it was: run the same command again after an
# interruption. Stages that are done take seconds. With `smoke` tiny nets go the whole way, into runs/smoke/.
set -euo pipefail

if [ $# -lt 2 ] || [ $# -gt 3 ] || [ ! -d "$1" ] || [ ! -d "$2" ] || [ "${3:-smoke}" != smoke ]; then
  echo "usage: $0 GRID LRW_AR [smoke] (two folders that are there: see data_pipelines/grid and lrw_ar)" >&2
  exit 2
fi
if [ ! -f configs/release_vg.py ]; then
  echo "$0: there is no configs/release_vg.py here: start in the project's folder" >&2
  exit 2
fi

atvg prepare grid --source "$1" --out data/grid
atvg prepare lrw_ar --source "$2" --out data/lrw_ar
# Once more, with the sound of each broadcast in step with the lips: AT-net learns from it.
atvg prepare lrw_ar --source "$2" --out data/in_step/lrw_ar --sound-offsets data/lrw_ar

runs=runs${3:+/$3}
size=${3:+:$3}
train() {  # NAME CONFIG [fields]
  # A run that was asked to stop saves and ends with this status: the stages after it must not begin.
  atvg train --config="configs/$2.py$size" --workdir="$runs/$1" --interrupted_status=75 "${@:3}"
}
again=(--config.init_from="$runs/release_vg")
[ -n "$size" ] || again+=(--config.num_steps=5000)
train release_at release_at
train release_vg release_vg
train release_vg_again release_vg "${again[@]}"

atvg release --workdir "$runs/release_at" --out "$runs/at_small.npz"
atvg release --workdir "$runs/release_vg_again" --out "$runs/vg_small.npz"
for set in grid lrw_ar in_step/lrw_ar; do
  atvg evaluate --data "data/$set" --weights "$runs/at_small.npz" "$runs/vg_small.npz" --out "$runs/evaluation/$set"
done
echo "weights: $runs/at_small.npz and $runs/vg_small.npz; scores: $runs/evaluation"
