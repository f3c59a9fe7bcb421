#!/bin/bash
# A worker on each of several hosts, started by ssh; one log.
#
#   launch/ssh.sh --hosts=n1,n2,n3 -- --epochs=1 --run_dir=/shared/run
#   launch/ssh.sh --hostfile=hosts --restarts=3 -- --run_dir=/shared/run     again after a failure
#   launch/ssh.sh -- --run_dir=/shared/run          in a job of PBS, LSF or Grid Engine: its hosts
#   launch/ssh.sh --hosts=n1,n2 -m doctor --        (or -m bench)
#
# Each worker's lines begin with its number and host. A worker that fails ends all; Ctrl-C saves and
# ends, a second leaves without saving, a third ends at once. No worker outlives this command.
# MNIST_DIST_PYTHON: the interpreter on all hosts, default: the one of this command.
# MNIST_DIST_SSH: ssh and options of it. MNIST_DIST_SETUP: file that a shell reads first there.
set -u
read -ra python <<<"${MNIST_DIST_PYTHON:-python}"
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} exec "${python[@]}" -m mnist_dist.ssh "$@"
