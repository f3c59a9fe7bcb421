"""Who runs where, from environments as TensorFlow's documents and SLURM 22.05 make them."""

import itertools
import json

import pytest

from mnist_dist.cluster import ports
from mnist_dist.cluster.topology import Topology, from_environment
from mnist_dist.errors import UsageError

WORKERS = ["a:1111", "b:2222", "c:3333"]


def tf_config(cluster, kind="worker", index=0):
    task = {"type": kind, "index": index}
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})}


def slurm(rank=0, node=0, **changed):
    """The environment of a task of `srun -N3 -n7`; None takes a variable away."""
    environment = {
        "SLURM_JOB_ID": "15",
        "SLURM_STEP_ID": "0",
        "SLURM_NTASKS": "7",
        "SLURM_JOB_NUM_NODES": "3",
        "SLURM_JOB_NODELIST": "n[1-9]",
        "SLURM_STEP_NUM_TASKS": "7",
        "SLURM_STEP_NODELIST": "n[1-3]",
        "SLURM_STEP_TASKS_PER_NODE": "4,2,1",
        "SLURM_PROCID": str(rank),
        "SLURM_NODEID": str(node),
    }
    environment.update({f"SLURM_{name}": value for name, value in changed.items()})
    return {name: value for name, value in environment.items() if value is not None}


def hosts(topology):
    return [worker.rpartition(":")[0] for worker in topology.workers]


def test_nothing_set_is_this_process_alone():
    alone = from_environment({"PATH": "/bin"})
    assert alone == Topology()
    assert (alone.num_workers, alone.is_chief, alone.host, alone.port) == (1, True, "", 0)


def test_tf_config():
    topology = from_environment(tf_config({"worker": WORKERS}, index=1))
    assert topology.workers == tuple(WORKERS)
    assert (topology.rank, topology.host, topology.port) == (1, "b", 2222)
    assert (topology.source, topology.port_candidates, topology.is_chief) == ("tf_config", 1, False)
    others = [from_environment(tf_config({"worker": WORKERS}, index=i)).token for i in (0, 2)]
    assert others == [topology.token] * 2
    assert from_environment(tf_config({"worker": WORKERS[:2]})).token != topology.token


def test_tf_config_with_ipv6():
    workers = ["[::1]:29351", "[fe80::1%eth0]:29352", "a:3"]
    topology = from_environment(tf_config({"worker": workers}))
    assert topology.workers == tuple(workers)
    assert (topology.host, topology.port) == ("::1", 29351)


@pytest.mark.parametrize("environment", [tf_config({"worker": WORKERS}), slurm()])
def test_the_secret_is_part_of_the_token(environment):
    def token(**secret):
        return from_environment({**environment, **secret}).token

    assert token(MNIST_DIST_TOKEN="a") == token(MNIST_DIST_TOKEN="a")
    different = {token(), token(MNIST_DIST_TOKEN="a"), token(MNIST_DIST_TOKEN="b")}
    assert len(different) == 3
    assert "secret" not in token(MNIST_DIST_TOKEN="secret")
    assert token() not in repr(from_environment(environment))


def test_tf_config_chief_is_rank_0():
    cluster = {"worker": WORKERS[1:], "chief": WORKERS[:1]}
    assert from_environment(tf_config(cluster, "chief")).workers == tuple(WORKERS)
    assert from_environment(tf_config(cluster, "chief")).rank == 0
    assert from_environment(tf_config(cluster, "worker", 0)).rank == 1
    assert from_environment(tf_config(cluster, "worker", 1)).rank == 2


def test_tf_config_of_one_worker_is_alone():
    topology = from_environment(tf_config({"worker": ["a:1"]}))
    assert (topology.workers, topology.num_workers, topology.rank) == ((), 1, 0)
    assert "one worker" in topology.note


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("{", "not JSON"),
        ("[]", "no 'cluster'"),
        ("{}", "no 'cluster'"),
        ('{"cluster": []}', "no 'cluster'"),
        ('{"cluster": {"worker": ["a:1"]}}', "no 'task'"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"index": 0}}', "kind of task"),
        (tf_config({"worker": WORKERS}, "evaluator"), "'evaluator'"),
        (tf_config({"worker": WORKERS, "ps": ["d:1"]}), "'ps'"),
        (tf_config({"worker": WORKERS}, "chief"), "index 0"),
        (tf_config({"worker": WORKERS}, index=3), "index 3"),
        (tf_config({"worker": WORKERS}, index=-1), "index -1"),
        (tf_config({"worker": WORKERS}, index="0"), 'index "0"'),
        (tf_config({"worker": WORKERS}, index=True), "index true"),
        (tf_config({"worker": WORKERS}, index=None), "index null"),
        (tf_config({"worker": []}), "must be a list"),
        (tf_config({"worker": "a:1"}), "must be a list"),
        (tf_config({"worker": ["a", "b:1"]}), "isn't host:port"),
        (tf_config({"worker": [":1", "b:1"]}), "isn't host:port"),
        (tf_config({"worker": ["a:x", "b:1"]}), "isn't host:port"),
        (tf_config({"worker": [1, "b:1"]}), "isn't host:port"),
        (tf_config({"worker": ["::1:29351", "b:1"]}), "isn't host:port ([host]:port for IPv6)"),
        (tf_config({"worker": ["[::1]", "b:1"]}), "isn't host:port"),
        (tf_config({"worker": ["[a]:1", "b:1"]}), "isn't host:port"),
        (tf_config({"worker": ["a b:1", "b:1"]}), "isn't host:port"),
        (tf_config({"worker": ["a/b:1", "b:1"]}), "isn't host:port"),
        (tf_config({"worker": ["a:\u00b2", "b:1"]}), "isn't host:port"),
        ("[" * 10_000, "nested too deeply"),
        ('{"cluster": ' + "1" * 5000, "a number of 5000 digits"),
        (tf_config({"worker": ["a:" + "1" * 5000, "b:1"]}), "isn't host:port"),
        (tf_config({"worker": "x" * 100_000}), "must be a list"),
        (tf_config({"worker": ["a:0", "b:1"]}), "65535"),
        (tf_config({"worker": ["a:65536", "b:1"]}), "65535"),
        (tf_config({"worker": ["a:1", "a:1"]}), "twice"),
        (tf_config({"worker": ["a:1"], "chief": ["a:1"]}), "twice"),
        (tf_config({"worker": ["a:1"], "chief": ["b:1", "c:1"]}), "more than one chief"),
    ],
)
def test_malformed_tf_config(value, said):
    environment = value if isinstance(value, dict) else {"TF_CONFIG": value}
    with pytest.raises(UsageError) as error:
        from_environment(environment)
    assert said in str(error.value)
    assert str(error.value).startswith("TF_CONFIG: ")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    ("distribution", "size", "layout"),
    [
        (None, None, "1111223"),
        ("block", None, "1111223"),
        ("block:cyclic", None, "1111223"),
        ("cyclic", None, "1231211"),
        ("cyclic:block", None, "1231211"),
        ("plane", "2", "1122311"),
        ("plane", "3", "1112231"),
    ],
)
def test_ranks_follow_the_distribution(distribution, size, layout):
    expected = [f"n{node}" for node in layout]
    seen = set()
    for rank, node in enumerate(layout):
        here = ",".join(str(other) for other, place in enumerate(layout) if place == node)
        topology = from_environment(
            slurm(rank, int(node) - 1, DISTRIBUTION=distribution, DIST_PLANESIZE=size, GTIDS=here)
        )
        assert hosts(topology) == expected
        assert topology.rank == rank
        seen.add((topology.workers, topology.token))
    assert len(seen) == 1  # the same for all, without talking
    assert len(set(topology.workers)) == 7


def test_hosts_arent_sorted():
    topology = from_environment(
        slurm(1, 1, STEP_NUM_TASKS="2", STEP_NODELIST="n2,n10", STEP_TASKS_PER_NODE="1(x2)")
    )
    assert hosts(topology) == ["n2", "n10"]
    assert topology.host == "n10"


@pytest.mark.parametrize(
    "changed",
    [
        {"GTIDS": "0,3,5,6"},  # SLURM put other ranks here than the distribution says
        {"GTIDS": "1"},
        {"NODEID": "1"},
        {"NODEID": "5"},
        {"PROCID": "9"},
        {"STEP_TASKS_PER_NODE": "4,2"},
        {"STEP_TASKS_PER_NODE": "2(x999999999)"},
        {"STEP_TASKS_PER_NODE": "999999999,2,1"},
        {"STEP_TASKS_PER_NODE": "\u00b2,2,1"},
        {"GTIDS": "7," * 50_000},
        {"STEP_TASKS_PER_NODE": "4,2,2"},
        {"STEP_TASKS_PER_NODE": None},
        {"STEP_NODELIST": "n[1-2]"},
        {"DISTRIBUTION": "plane"},
        {"DISTRIBUTION": "plane", "DIST_PLANESIZE": "0"},
    ],
)
def test_what_doesnt_fit_is_refused(changed):
    with pytest.raises(UsageError, match="doesn't fit") as error:
        from_environment(slurm(**changed))
    assert len(str(error.value)) < 500


@pytest.mark.parametrize("nodes", ["n[1-999999999]", "n[1-65536][1-65536]", "n[1-" + "9" * 5000])
def test_more_hosts_than_there_can_be_are_refused(nodes):
    with pytest.raises(UsageError, match=r"^host list 'n\["):
        from_environment(slurm(STEP_NODELIST=nodes))


def test_a_name_that_can_be_no_hosts_is_refused():
    changed = {"STEP_NODELIST": "a b,c,d", "STEP_TASKS_PER_NODE": "4,2,1"}
    with pytest.raises(UsageError, match="the host 'a b:"):
        from_environment(slurm(**changed))


@pytest.mark.parametrize("name", ["PROCID", "NODEID", "STEP_NUM_TASKS"])
def test_what_is_no_number_is_refused(name):
    for value in ("x", "\u00b2", "-1", "1" * 5000, "99999999"):
        with pytest.raises(UsageError, match=f"SLURM_{name}=.* isn't a number") as error:
            from_environment(slurm(**{name: value}))
        assert len(str(error.value)) < 200


def test_arbitrary_distribution_needs_to_be_told():
    environment = slurm(1, 0, DISTRIBUTION="arbitrary", GTIDS="1,2,3,6")
    with pytest.raises(UsageError, match="MNIST_DIST_HOSTS"):
        from_environment(environment)
    environment["MNIST_DIST_HOSTS"] = "n3,n1,n1,n1,n2,n2,n1"
    assert hosts(from_environment(environment)) == ["n3", "n1", "n1", "n1", "n2", "n2", "n1"]
    environment["MNIST_DIST_HOSTS"] = "n3,n1,n1,n1,n2,n2"
    with pytest.raises(UsageError, match="doesn't fit"):
        from_environment(environment)


def test_step_before_job():
    """A step on two nodes of a job on nine."""
    step = {"STEP_NUM_TASKS": "2", "STEP_NODELIST": "n[4,8]", "STEP_TASKS_PER_NODE": "1(x2)"}
    assert hosts(from_environment(slurm(1, 1, **step))) == ["n4", "n8"]


def test_a_single_task_is_alone():
    alone = from_environment(slurm(STEP_NUM_TASKS="1", STEP_TASKS_PER_NODE="1"))
    assert (alone.workers, alone.source, alone.note) == ((), "slurm", "")


def test_an_allocation_without_srun_is_alone_and_says_so():
    alone = from_environment(slurm(STEP_NUM_TASKS=None, PROCID=None))
    assert (alone.workers, alone.source) == ((), "slurm")
    assert "not started by srun" in alone.note
    one = slurm(STEP_NUM_TASKS=None, NTASKS=None, JOB_NUM_NODES="1")
    assert from_environment(one).note == ""


def test_ports_differ_between_jobs_steps_and_attempts():
    tokens, ports = set(), set()
    for job, step, restart in itertools.product("123", "01", "01"):
        topology = from_environment(slurm(JOB_ID=job, STEP_ID=step, RESTART_COUNT=restart))
        tokens.add(topology.token)
        ports.add(topology.port)
        assert all(15000 <= int(worker.split(":")[1]) < 32000 for worker in topology.workers)
    assert len(tokens) == 12
    assert len(ports) == 12
    assert topology.port_candidates > 1


def test_another_network():
    environment = {**slurm(), "MNIST_DIST_HOST_SUFFIX": "-ib"}
    assert hosts(from_environment(environment))[4:] == ["n2-ib", "n2-ib", "n3-ib"]


def test_which_wins():
    both = {**slurm(), **tf_config({"worker": WORKERS})}
    assert from_environment(both).source == "tf_config"
    assert from_environment(both, "tf_config").source == "tf_config"
    assert from_environment(both, "slurm").source == "slurm"
    assert from_environment(both, "none") == Topology()


@pytest.mark.parametrize("cluster", ["slurm", "tf_config"])
def test_an_asked_for_cluster_that_isnt_there(cluster):
    with pytest.raises(UsageError, match=f"--cluster={cluster}"):
        from_environment({}, cluster)


@pytest.mark.parametrize("given", ["10.93.41.1,10.93.41.2", "fd13::1,fd13::2", "n1-ib,n2-ib"])
def test_hosts_may_be_given_as_addresses(given):
    step = {"STEP_NUM_TASKS": "2", "STEP_NODELIST": "n[1-2]", "STEP_TASKS_PER_NODE": "1(x2)"}
    environment = slurm(1, 1, **step, GTIDS="1") | {"MNIST_DIST_HOSTS": given}
    found = from_environment(environment)
    assert found.host == given.split(",")[1]
    assert from_environment(environment | {"MNIST_DIST_HOSTS": "n1,n2"}).host == "n2"
    for wrong in ("n2,n1", "a,a", "a", "a,b,c"):
        with pytest.raises(UsageError, match="doesn't fit"):
            from_environment(environment | {"MNIST_DIST_HOSTS": wrong})


def test_ports_differ_only_on_a_host():
    """2,000 nodes of 8 tasks: more tasks than there are ports."""
    layout = {"STEP_NUM_TASKS": "16000", "STEP_NODELIST": "n[1-2000]"}
    layout["STEP_TASKS_PER_NODE"] = "8(x2000)"
    found = from_environment(slurm(15999, 1999, **layout))
    assert len(set(found.workers)) == 16000
    assert len({worker.partition(":")[2] for worker in found.workers}) == 8
    taken = {
        (host, port) for rank in range(15992, 16000) for host, port in ports.candidates(found, rank)
    }
    assert len(taken) == 8 * found.port_candidates
    with pytest.raises(UsageError, match="2125 tasks on a host are more than it has ports"):
        from_environment(
            slurm(
                0,
                0,
                **{"STEP_NUM_TASKS": "2125", "STEP_NODELIST": "n1"},
                STEP_TASKS_PER_NODE="2125",
            )
        )
