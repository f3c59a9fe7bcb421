"""Factors only between workers that compute alike."""

import pytest

from mnist_dist.config import Config
from mnist_dist.errors import UsageError
from mnist_dist.reduce_choice import settled

KIND = {"cpu": "EPYC", "cpu_features": "avx2"}


def settle(config, others, threads=2):
    """`settled` on worker 0, whose threads are 2; `others`: of the other workers."""
    asked = []

    def difference(own):
        asked.append(own)
        found = (rank for rank, value in enumerate(others, 1) if value != own)
        return next(([rank, others[rank - 1], own] for rank in found), None)

    return *settled(config, KIND, threads, difference), asked


@pytest.mark.parametrize("reduce", ["auto", "factors"])
def test_equal_workers(reduce):
    config = Config(reduce=reduce)
    same = {**KIND, "threads": "2"}
    assert settle(config, [same, same]) == (config, "", [same])


OTHERS = [
    ({**KIND, "threads": "4"}, "threads of worker 2 is 4, of worker 0 2"),
    ({**KIND, "cpu": "Xeon", "threads": "2"}, "cpu of worker 2 is Xeon, of worker 0 EPYC"),
    ({"cpu": "EPYC", "threads": "2"}, "cpu_features of worker 2 is None, of worker 0 avx2"),
]


@pytest.mark.parametrize(("other", "why"), OTHERS)
def test_another_worker(other, why):
    same = {**KIND, "threads": "2"}
    config, line, _ = settle(Config(), [same, other])
    assert config == Config(reduce="product")
    assert line == (f"--reduce=auto: product ({why}; factors need workers that compute alike).")
    with pytest.raises(UsageError, match=f"^--reduce=factors: {why}; .* leave --reduce out$"):
        settle(Config(reduce="factors"), [same, other])


def test_threads_do_not_count_with_shards():
    one = {**KIND, "threads": "1"}
    config = Config(shards=4, reduce="factors")
    assert settle(config, [one], threads=2) == (config, "", [one])


@pytest.mark.parametrize("flags", [{"reduce": "product"}, {"network": "a.py:f"}])
def test_products_need_no_question(flags):
    config = Config(**flags)
    assert settle(config, [{}]) == (config, "", [])
