"""Ranks from variables as Open MPI 4.1, MPICH, Flux, torchrun, Kubeflow and Kubernetes set them."""

import pytest

from mnist_dist.cluster.topology import Topology, from_environment
from mnist_dist.errors import UsageError
from tests.unit.cluster.test_topology import WORKERS, slurm, tf_config


def open_mpi(rank, size, local="0", namespace="1229062145"):
    return {
        "OMPI_COMM_WORLD_RANK": str(rank),
        "OMPI_COMM_WORLD_SIZE": str(size),
        "OMPI_COMM_WORLD_LOCAL_RANK": local,
        "PMIX_NAMESPACE": namespace,
    }


def pmi(rank, size):
    return {**srun_pmi(rank, size), "MPI_LOCALRANKID": str(rank)}


def srun_pmi(rank, size):
    """As srun --mpi=pmi2 sets them."""
    return {"PMI_RANK": str(rank), "PMI_SIZE": str(size)}


def torchrun(rank, size, **more):
    return {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank % 2), **more}


def flux(rank, size):
    names = ("FLUX_TASK_RANK", "FLUX_JOB_SIZE", "FLUX_TASK_LOCAL_ID", "FLUX_JOB_ID")
    return dict(zip(names, (str(rank), str(size), "0", "f1"), strict=True))


def kubernetes(rank, size):
    return {"JOB_COMPLETION_INDEX": str(rank), "MNIST_DIST_NUM_WORKERS": str(size)}


KINDS = {"mpi": open_mpi, "flux": flux, "rank": torchrun, "kubernetes": kubernetes}


@pytest.mark.parametrize(
    ("environment", "source", "local"),
    [
        (open_mpi(3, 8, "1"), "mpi", 1),
        (pmi(3, 8), "mpi", 3),
        (flux(3, 8), "flux", 0),
        (torchrun(3, 8), "rank", 1),
        ({"RANK": "3", "WORLD_SIZE": "8"}, "rank", None),
        (kubernetes(3, 8), "kubernetes", None),
        ({**open_mpi(3, 8, "1"), **pmi(3, 8)}, "mpi", 1),
    ],
)
def test_ranks_without_hosts_meet_by_a_file(environment, source, local):
    found = from_environment(environment)
    assert (found.source, found.rank, found.num_workers) == (source, 3, 8)
    assert found.local_rank == local
    assert found.meets_by_file
    assert not found.is_chief
    assert (found.host, found.port) == ("", 0)
    assert from_environment(environment, source) == found
    assert from_environment(environment, "none") == Topology()


@pytest.mark.parametrize(("cluster", "kind"), KINDS.items())
def test_one_task_is_alone(cluster, kind):
    found = from_environment(kind(0, 1), cluster)
    assert (found.num_workers, found.workers) == (1, ())
    assert from_environment(kind(0, 1)).num_workers == 1


def test_all_ranks_agree_on_the_name_of_their_start():
    tokens = {from_environment(open_mpi(rank, 3)).token for rank in range(3)}
    assert len(tokens) == 1
    assert tokens.isdisjoint({from_environment(open_mpi(0, 3, namespace="7")).token})
    tries = [torchrun(0, 2, TORCHELASTIC_RESTART_COUNT=count) for count in "01"]
    assert len({from_environment(each).token for each in tries}) == 2


@pytest.mark.parametrize("rank", [0, 1])
def test_the_address_of_worker_0_may_be_given(rank):
    given = {"MASTER_ADDR": "10.0.0.7, n1", "MASTER_PORT": "29500"}
    found = from_environment(torchrun(rank, 2, **given))
    assert found.workers == ("10.0.0.7:29500", "")
    assert found.chief_hosts == ("n1",)
    assert (found.port_candidates, found.port_step) == (8, 1)
    assert not found.meets_by_file
    other = from_environment(torchrun(rank, 2, **given, MNIST_DIST_TOKEN="secret"))
    assert other.token != found.token
    last = from_environment(torchrun(rank, 2, MASTER_ADDR="n1", MASTER_PORT="65535"))
    assert last.port_candidates == 1


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"WORLD_SIZE": "8"}, r"RANK=\(not set\) isn't a number"),
        ({"WORLD_SIZE": "x", "RANK": "1"}, "WORLD_SIZE=x isn't a number"),
        ({"WORLD_SIZE": "8", "RANK": "-1"}, "RANK=-1 isn't a number"),
        ({"WORLD_SIZE": "2", "RANK": "2"}, "RANK=2 isn't below WORLD_SIZE=2"),
        ({"WORLD_SIZE": "0", "RANK": "0"}, "RANK=0 isn't below WORLD_SIZE=0"),
        ({"OMPI_COMM_WORLD_SIZE": "8"}, "OMPI_COMM_WORLD_RANK="),
        ({"PMI_SIZE": "8", "PMI_RANK": "9" * 30}, "PMI_RANK=9+"),
        ({"JOB_COMPLETION_INDEX": "0"}, "set MNIST_DIST_NUM_WORKERS in the pod's template"),
        ({**open_mpi(0, 2), **torchrun(1, 8)}, "Open MPI says task 0 of 2, RANK and WORLD_SIZE "),
        (torchrun(0, 2, MASTER_ADDR="n1", MASTER_PORT="0"), "MASTER_PORT=0: give a port"),
        (torchrun(0, 2, MASTER_ADDR="a b", MASTER_PORT="1"), "MASTER_ADDR=a b: the address"),
        (torchrun(0, 2, MASTER_ADDR=",".join(["n"] * 17), MASTER_PORT="1"), "at most 16"),
    ],
)
def test_tasks_that_cant_join_the_others_are_refused(environment, said):
    with pytest.raises(UsageError, match=said) as error:
        from_environment(environment)
    assert "\n" not in str(error.value)
    assert from_environment(environment, "none") == Topology()


@pytest.mark.parametrize("cluster", KINDS)
def test_an_asked_for_starter_that_didnt_start_it(cluster):
    with pytest.raises(UsageError, match=f"--cluster={cluster}: .* aren't set"):
        from_environment({}, cluster)


def test_a_conflict_is_settled_by_the_flag():
    both = {**open_mpi(0, 2), **torchrun(1, 8)}
    assert from_environment(both, "mpi").num_workers == 2
    assert from_environment(both, "rank").num_workers == 8


def test_a_size_alone_is_no_task_of_several():
    for environment in ({"RANK": "3"}, {"WORLD_SIZE": "1"}, {"LOCAL_RANK": "1"}):
        assert from_environment(environment) == Topology()


def test_which_of_two_starters_wins():
    """TF_CONFIG, then what mpirun and others say, then srun; srun if a user repeats its words."""
    config = tf_config({"worker": WORKERS})
    assert from_environment({**config, **open_mpi(0, 2), **slurm()}).source == "tf_config"
    assert from_environment({**slurm(), **srun_pmi(0, 7)}).source == "slurm"
    assert from_environment({**slurm(), **srun_pmi(0, 7), **torchrun(0, 7)}).source == "slurm"
    within = from_environment({**slurm(), **open_mpi(5, 24)})  # whose daemons srun has started
    assert (within.source, within.rank, within.num_workers) == ("mpi", 5, 24)
    assert from_environment({**slurm(), **open_mpi(5, 24)}, "slurm").source == "slurm"
    assert from_environment({**slurm(), **torchrun(0, 1)}).source == "slurm"
    elastic = torchrun(0, 7, TORCHELASTIC_RUN_ID="x")
    for kind in (open_mpi(0, 7), pmi(0, 7), flux(0, 7), elastic):  # as the daemon's step by chance
        assert from_environment({**slurm(), **kind}).source != "slurm"
    assert from_environment({**kubernetes(0, 2), **torchrun(0, 2)}).source == "rank"
