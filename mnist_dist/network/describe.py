"""The network as a table."""

from collections.abc import Sequence

from mnist_dist.network.architecture import Stage
from mnist_dist.network.own_file import Row
from mnist_dist.run import text_table


def table(stages: Sequence[Stage | Row]) -> str:
    """Layer, output shape, parameters and MFLOPs (forward, one image; a multiply-add is two)."""
    rows = [("layer", "output", "parameters", "MFLOP")]
    rows += [
        (s.name, "x".join(map(str, s.shape)), f"{s.parameters:,}", f"{s.flops / 1e6:.3f}")
        for s in stages
    ]
    total = sum(s.parameters for s in stages)
    rows.append(("total", "", f"{total:,}", f"{sum(s.flops for s in stages) / 1e6:.3f}"))
    return "\n".join(text_table.lines(rows, left=[0, 1], indent=""))
