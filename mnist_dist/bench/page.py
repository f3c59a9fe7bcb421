"""The bench's report as text."""

from collections.abc import Iterator
from typing import Any

from mnist_dist.bench.model import WORTH
from mnist_dist.run import text_table


def text(report: dict[str, Any]) -> str:
    """Returns the report; lines have about 100 characters at most."""
    return "\n".join([*_head(report), *_levels(report), *_sums(report), *_prediction(report)])


def _head(report: dict[str, Any]) -> Iterator[str]:
    workers = report["workers"]
    hosts = sorted({worker["host"] for worker in workers})
    cores = ", ".join(sorted({str(worker["cores"]) for worker in workers}, key=int))
    yield (
        f"Replicas: {report['levels'][-1]['replicas']} over {len(workers)} worker(s) on "
        f"{len(hosts)} host(s), {cores} core(s) for each worker; {report['hardware']}"
    )
    times = f", {report['reductions']} all-reduces" if report["reductions"] > 1 else ""
    yield (
        f"Network: {report['parameters']:,} parameters, {report['precision']}; "
        f"{report['bytes']:,} bytes of gradients are summed in a step{times}"
    )
    sent = {way: report["levels"][-1][way]["bytes"] for way in ("weak", "strong")}
    if 0 < min(sent.values()) < report["bytes"]:
        yield (
            f"With dense gradients as factors: {sent['strong']:,} bytes (strong scaling), "
            f"{sent['weak']:,} bytes (weak)"
        )
    if report["shared"]:
        yield (
            "Note: these replicas share cores, so more of them are hardly faster; to try out, not "
            "to measure."
        )


def _levels(report: dict[str, Any]) -> Iterator[str]:
    batch = report["levels"][0]["weak"]["batch"]
    for way, title in (
        ("weak", f"Weak scaling, {batch} images on each replica:"),
        ("strong", f"Strong scaling, {batch} images over all replicas:"),
    ):
        yield f"\n{title}"
        rows = [
            ["replicas", "workers", "ms a step", "images/s", "efficiency", "input", "communication"]
        ]
        predicted = report["prediction"] is not None
        if predicted:
            rows[0].append("model, ms")
        for level in report["levels"]:
            row = level[way]
            cells = [str(level["replicas"]), str(level["workers"])]
            cells += [_ms(row["step_s"]), f"{row['images_per_s']:,.0f}"]
            cells += [_percent(row[name]) for name in ("efficiency", "input", "communication")]
            if predicted:
                cells.append(_ms(row["model_s"]) if "model_s" in row else "-")
            rows.append(cells)
        yield from text_table.lines(rows)
    yield (
        "Efficiency: images/s of a replica against one replica. Input: share of a step that waits "
        "for\nimages. Communication: share that disappears when all train at once, each by itself."
    )


def _sums(report: dict[str, Any]) -> Iterator[str]:
    summed = [level for level in report["levels"] if level["all_reduce"]]
    if not summed:
        return
    yield "\nAll-reduce, ms (median):"
    sizes = summed[-1]["all_reduce"]["bytes"]
    rows = [["replicas", *(f"{size:,} B" for size in sizes)]]
    for level in summed:
        rows.append([str(level["replicas"]), *map(_ms, level["all_reduce"]["seconds"])])
    yield from text_table.lines(rows)


def _prediction(report: dict[str, Any]) -> Iterator[str]:
    found = report["prediction"]
    if found is None:
        yield "\nA prediction for more replicas needs at least two here."
        return
    ring, step = found["ring"], found["step"]
    yield "\nPrediction, with more hosts and links like these:"
    yield (
        f"  a step computes {1e3 * step['fixed_s']:.2f} ms + images x "
        f"{1e3 * step['image_s']:.3f} ms; an all-reduce of S bytes takes\n"
        f"  {1e3 * ring['launch_s']:.2f} ms + 2(n-1) x {1e3 * ring['alpha_s']:.3f} ms + 2(n-1)/n x "
        f"S / {ring['bytes_per_s'] / 1e6:,.0f} MB/s (a ring),\n"
        "  and nothing of it overlaps with computing"
    )
    if step["product_row_s"]:
        row_us = 1e6 * step["product_row_s"]
        yield f"  with factors, each row of another replica costs {row_us:.1f} us"
    if len(report["workers"]) == 1:
        yield (
            "  These are links between devices of one machine: for several, run it on two of them."
        )
    rows = [["replicas", "weak: ms", "images/s", "efficiency", "comm."]]
    rows[0] += ["strong: ms", *rows[0][2:]]
    strong = {point["replicas"]: point for point in found["strong"]["points"]}
    for point in found["weak"]["points"]:
        cells = [str(point["replicas"])]
        for one in (point, strong.get(point["replicas"])):
            cells += _cells(one) if one else ["-"] * 4
        rows.append(cells)
    yield from text_table.lines(rows)
    yield f"\nUp to how many replicas it pays (efficiency of at least {WORTH:.0%}):"
    rows = [["", "weak", "strong", "strong is fastest at"]]
    for flags, ways in [("as it is", found)] + [(one["flags"], one) for one in found["changes"]]:
        rows.append([flags, *(_most(ways[way], "worth") for way in ("weak", "strong"))])
        rows[-1].append(_most(ways["strong"], "fastest"))
    yield from text_table.lines(rows, left=[0])


def _cells(point: dict[str, Any]) -> list[str]:
    shares = [_percent(point[name]) for name in ("efficiency", "communication")]
    return [_ms(point["step_s"]), f"{point['images_per_s']:,.0f}", *shares]


def _most(border: dict[str, int], name: str) -> str:
    """Returns a number of replicas, with a + if it is the largest that is predicted."""
    return f"{border[name]}{'+' if border[name] == border['most'] else ''}"


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.2f}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
