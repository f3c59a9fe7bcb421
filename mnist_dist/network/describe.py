"""The network as a table."""

from collections.abc import Sequence

from mnist_dist.network.architecture import Stage


def table(stages: Sequence[Stage]) -> str:
    """Layer, output shape, parameters and MFLOPs (forward, one image; a multiply-add is two)."""
    rows = [("layer", "output", "parameters", "MFLOP")]
    rows += [
        (s.name, "x".join(map(str, s.shape)), f"{s.parameters:,}", f"{s.flops / 1e6:.3f}")
        for s in stages
    ]
    total = sum(s.parameters for s in stages)
    rows.append(("total", "", f"{total:,}", f"{sum(s.flops for s in stages) / 1e6:.3f}"))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    return "\n".join(
        f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d:>{widths[3]}}"
        for a, b, c, d in rows
    )
