"""Compares runs on one page: `python -m mnist_dist.report RUN_DIR... [--format=html|md]`.

RUN_DIR is a run's --run_dir, --output_dir or --checkpoint_dir, a folder with one in output/, or a
folder of several of these. The page needs matplotlib: pip install 'mnist_dist[report]'.
"""

from mnist_dist import exits

exits.begin(__name__)

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from mnist_dist.errors import RunError, UsageError
from mnist_dist.report.answer import Ranking, rankings
from mnist_dist.report.markdown import markdown
from mnist_dist.report.runs import Run, read
from mnist_dist.run.atomic import replace
from mnist_dist.run.command import Parser, answered
from mnist_dist.run.folders import writable_file


def main(argv: list[str]) -> int:
    """Runs the command line; returns the process's exit code."""
    return answered(lambda: _run(argv))


def _run(argv: list[str]) -> int:
    parser = Parser("python -m mnist_dist.report", __doc__)
    parser.add_argument("run_dir", nargs="+", metavar="RUN_DIR", help="where runs have written")
    parser.add_argument(
        "--format", choices=("html", "md"), default="html", help="default: html, one page"
    )
    parser.add_argument(
        "--output", help="file to write; default: report.html, or standard output for md"
    )
    args = parser.parse_args(argv)
    report(args.run_dir, args.format, args.output)
    return 0


def report(run_dirs: Sequence[str], form: str = "html", output: str | None = None) -> None:
    """Writes a report and prints its answer in one line.

    Args:
        run_dirs: folders of runs.
        form: "html" or "md".
        output: the file; None for ./report.html, or standard output for md.

    Raises:
        UsageError: no finished run there, no place for the file, no matplotlib for html.
        RunError: the file can't be written.
    """
    if form == "html" and not find_spec("matplotlib"):
        raise UsageError(
            "--format=html draws with matplotlib, which isn't installed; "
            "pip install 'mnist_dist[report]', or give --format=md"
        )
    if output is None and form == "html":
        output = "report.html"
    path = None if output is None else writable_file(output, "--output")
    runs = read(run_dirs)
    if all(run.unfinished for run in runs):
        first = runs[0]
        raise UsageError(
            f"no finished run among {len(runs)} ({first.name} at step {first.step}: "
            f"{first.unfinished}); let one end, or give others"
        )
    ranked = rankings(runs)
    text = _text(form, ranked, runs)
    if path is None:
        _say(text)
        return
    _write(path, text)
    for data, _, found in ranked:
        of = f"{data}: " if len(ranked) > 1 else ""
        _say(f"{of}{found.headline}\n{found.verdict}\n")
    _say(f"Wrote {path}\n")


def _text(form: str, ranked: Sequence[Ranking], runs: Sequence[Run]) -> str:
    if form == "md":
        return markdown(ranked, runs)
    from mnist_dist.report.html import page  # brings matplotlib

    return page(ranked, runs)


def _write(path: Path, text: str) -> None:
    """Writes the file in one step.

    Raises:
        RunError: it can't be written.
    """
    try:
        replace(path, text.encode(errors="replace"))
    except OSError as error:
        raise RunError(f"--output={path}: can't be written ({error.strerror})") from error


def _say(text: str) -> None:
    """Prints, and replaces characters that the terminal can't show."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding), end="")


if __name__ == "__main__":
    exits.end(main)
