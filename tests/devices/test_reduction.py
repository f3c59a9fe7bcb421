"""A dense gradient sent as factors: the same sum, and with shards the same bits, as its product."""

import json
import sys

import pytest

from tests import warm
from tests.curves import ROOT


@pytest.fixture(scope="module", params=[2, 4])
def found(request):
    command = [sys.executable, f"{ROOT}/tests/devices/reducing.py", str(request.param)]
    done = warm.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    return request.param, json.loads(done.stdout.splitlines()[-1])


def test_rows_arrive_with_their_bits(found):
    """The sign of a zero, too: the rows of other replicas are filled with -0.0."""
    replicas, values = found
    assert "00000080" in values["rows"]  # there are such zeros
    assert values["placed"] == [values["rows"]] * replicas


def test_the_sum_is_the_product_of_all_rows(found):
    replicas, values = found
    assert max(values["product"]) < 1e-14
    assert values["other"] == [[replicas * (replicas + 1) / 2] * 2] * replicas
    assert values["sums"] == [[replicas] * 3] * replicas


def test_bfloat16_rounds_the_factors_alike_on_all(found):
    replicas, values = found
    assert values["bfloat16"] == values["bfloat16"][:1] * replicas
    assert 1e-4 < values["bfloat16"][0] < 0.1


def test_shards_have_the_bits_of_products(found):
    replicas, values = found
    factors, products = values["tree"]
    assert factors == products
    assert all(len(set(value)) == 1 and len(value) == replicas for value in factors)


@pytest.mark.parametrize("change", ["nan", "inf", "overflow"])
def test_the_replica_that_is_not_finite_is_named(found, change):
    """Factors that are finite but whose product isn't, too."""
    replicas, values = found
    none = [0.0] * replicas
    assert values["finite"] == [none] * replicas
    assert values[change] == [none, [0.0, 1.0, *none[2:]], *[none] * (replicas - 2)]
    assert values["scaled"] == [none] * replicas  # float16 skips such a step
