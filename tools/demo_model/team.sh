#!/bin/sh
# team.sh N LOG SCRIPT ARGS...: one training, N processes of one thread each.
n=$1; log=$2; shift 2
export WORLD=$n OMP_NUM_THREADS=1 PYTHONWARNINGS=ignore
export MALLOC_TRIM_THRESHOLD_=100000000000 MALLOC_MMAP_THRESHOLD_=100000000000
for rank in $(seq 1 $((n - 1))); do RANK=$rank nohup nice -n 3 python "$@" >"$log.$rank" 2>&1 & done
RANK=0 nohup nice -n 3 python "$@" >"$log" 2>&1 &
