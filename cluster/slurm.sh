#!/bin/bash
# Run a config on nodes of SLURM: Ray starts on all of them, the run on the first, and both end.
#   sbatch --nodes=4 --gpus-per-node=8 cluster/slurm.sh CONFIG --run-dir FOLDER [KEY=VALUE ...]
# FOLDER is on a disk that all nodes share, or a URI. Activate the environment that has baldistill
# before sbatch, or in the line marked below. The same command again resumes the run; --requeue does
# so by itself after a preemption.
#SBATCH --job-name=baldistill
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --requeue
#SBATCH --open-mode=append
# the run ends in order two minutes before the time limit
#SBATCH --signal=TERM@120
set -euo pipefail

fail() {
    echo "error: $1" >&2
    exit 2
}

[ -n "${SLURM_JOB_ID:-}" ] || fail "this is a job of SLURM: sbatch $0 CONFIG --run-dir FOLDER"
[ -f "${1:-}" ] || fail "config ${1:-} does not exist in $(pwd)"
case " $*" in
*' --run-dir'*) ;;
*) fail "give --run-dir: a URI (s3://bucket/run) or a folder on a disk that all nodes share" ;;
esac
# source /path/to/venv/bin/activate
command -v ray > /dev/null || fail "ray is not on PATH: activate the environment with baldistill"

first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
address=$(getent ahostsv4 "$first" | awk 'NR == 1 { print $1 }')
address=${address:-$first}:$((20000 + SLURM_JOB_ID % 20000)) # jobs may share a node

# a token that nobody outside this job knows; nothing is reported to Ray's makers
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN RAY_USAGE_STATS_ENABLED=0

exec srun --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 --kill-on-bad-exit=1 \
    ray symmetric-run --address "$address" --min-nodes "$SLURM_JOB_NUM_NODES" \
    --num-cpus "${SLURM_CPUS_ON_NODE:-$(nproc)}" --disable-usage-stats -- \
    baldistill run "$@" --address "$address"
