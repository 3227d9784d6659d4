#!/bin/bash
# Four nodes with a GPU each, by Slurm. Submit it where the project is installed, from a folder that all nodes share:
#   sbatch tuned_examples/cluster/slurm.sh tuned_examples/gems.yaml --num-samples 4 --num-env-runners 1 --num-gpus-per-learner 1
# Submitted again with --resume, after its time was over, it goes on from the last checkpoints.
#SBATCH --job-name=rllib-mamql
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-task=1
#SBATCH --mem-per-cpu=4G
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --output=%x-%j.log
set -euo pipefail
file=${1:?give an experiment file}
shift

# Whoever reaches Ray's ports needs this job's token, which nobody else can read. It is gone with the job.
umask 077
export RAY_AUTH_MODE=token
export RAY_AUTH_TOKEN_PATH="$PWD/.ray-token-$SLURM_JOB_ID"
export RAY_USAGE_STATS_ENABLED=0
head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' > "$RAY_AUTH_TOKEN_PATH"

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
address="${nodes[0]}:$((20000 + SLURM_JOB_ID % 10000))"
pids=()
cleanup() {
  kill "${pids[@]}" 2> /dev/null || true
  rm -f "$RAY_AUTH_TOKEN_PATH"
}
trap cleanup EXIT

on_node() {  # a task of Ray's on one node, until the job ends
  local node=$1
  shift
  srun --nodes=1 --ntasks=1 --nodelist="$node" "$@" --block --num-cpus="$SLURM_CPUS_PER_TASK" &
  pids+=($!)
}
on_node "${nodes[0]}" ray start --head --node-ip-address="${nodes[0]}" --port="${address##*:}" --include-dashboard=false
for node in "${nodes[@]:1}"; do
  on_node "$node" ray start --address="$address"
done

# The head answers once it has started; nodes that are slower are waited for by the command.
for _ in {1..120}; do
  if (exec 3<> "/dev/tcp/${address%:*}/${address##*:}") 2> /dev/null; then break; fi
  sleep 1
done
# Two minutes before its time is over Slurm sends this signal: the command writes last checkpoints.
train='' stop=''
on_term() {
  stop=1
  if [[ -n $train ]]; then kill -TERM "$train" 2> /dev/null || true; fi
}
trap on_term TERM
rllib train --file "$file" --ray-address "$address" --wait-for-nodes --storage-path "$PWD/results" "$@" &
train=$!
if [[ -n $stop ]]; then on_term; fi
status=0
wait "$train" || status=$?
# The signal ends the wait and not the command: it is waited for again, unless it had been waited for (127).
if [[ -n $stop ]]; then
  again=0
  wait "$train" || again=$?
  if ((again != 127)); then status=$again; fi
fi
exit "$status"
