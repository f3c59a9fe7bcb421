"""Which try of which job this is."""

import pytest

from mnist_dist.cluster import job


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, ("", 0)),
        ({"SLURM_JOB_ID": "17"}, ("17", 0)),
        ({"SLURM_JOB_ID": "17", "SLURM_RESTART_COUNT": "3"}, ("17", 3)),
        ({"SLURM_JOB_ID": "17", "SLURM_RESTART_COUNT": "²"}, ("17", 0)),
        ({"SLURM_JOB_ID": "17", "SLURM_RESTART_COUNT": "-1"}, ("17", 0)),
        ({"SLURM_JOB_ID": "17", "SLURM_RESTART_COUNT": "9" * 5000}, ("17", 0)),
    ],
)
def test_of_the_environment(environment, found):
    assert job.of(environment) == found
