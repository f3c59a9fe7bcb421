#!/bin/bash
# N workers on this machine, as if they were N machines: cores divided, free ports, one log.
#
#   launch/local.sh -n 4 -- --epochs=1
#   launch/local.sh -n 2 -- --flagfile=configs/notebook.cfg --run_dir=runs/two
#   launch/local.sh -n 4 --restarts=3 -- --checkpoint_every_steps=100     again after a failure
#   launch/local.sh -n 2 -m bench -- --no_gpu     (or -m doctor)
#
# Each worker's lines begin with its number. A worker that fails ends all; Ctrl-C saves and ends,
# a second leaves without saving, a third ends at once. The exit code is that of the first that failed.
# MNIST_DIST_PYTHON: the interpreter, default python; may have words before it.
set -u
read -ra python <<<"${MNIST_DIST_PYTHON:-python}"
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} exec "${python[@]}" -m mnist_dist.local "$@"
