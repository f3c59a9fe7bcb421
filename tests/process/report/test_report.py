"""`python -m mnist_dist.report` as a user runs it: on real runs, and on folders written by hand."""

import base64
import contextlib
import io
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import matplotlib.image
import numpy as np
import pytest

from mnist_dist.report.__main__ import main
from tests.process.trainer import ROOT, environment
from tests.unit.report.run_folders import answers, write

REPORT = (sys.executable, "-m", "mnist_dist.report")
BARE = (
    sys.executable,
    "-c",
    "import runpy, sys\n"
    "sys.modules['matplotlib'] = None  # as if it weren't installed\n"
    "sys.argv[0] = 'report'\n"
    "runpy.run_module('mnist_dist.report', run_name='__main__')",
)


def report(*arguments, command=None, cwd=ROOT):
    """In this process, which has matplotlib; or a command in one of its own."""
    words = [str(argument) for argument in arguments]
    if command:
        return subprocess.run(
            [*command, *words],
            **{"capture_output": True, "text": True, "cwd": cwd, "timeout": 120},
            env=environment(PYTHONPATH=str(ROOT)),
        )
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(words)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


def refused(done):
    """The one line of a command line that was refused."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert re.fullmatch(r"mnist_dist: [^\n]+\n", done.stderr), done.stderr
    assert not done.stdout
    return done.stderr


class Page(HTMLParser):
    """A page's tags with their attributes, its text, and its tables as rows of text."""

    VOID = ("meta", "img", "line", "circle")

    def __init__(self, path):
        super().__init__()
        self.tags, self.text, self.tables, self._open = [], [], [], []
        self.source = path.read_text()
        self.feed(self.source)
        self.close()
        assert self._open == [], "tags that aren't closed"

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self._open.pop() == tag, f"</{tag}> closes another"

    def handle_data(self, data):
        if "style" not in self._open:
            self.text.append(data)
        if {"td", "th"} & set(self._open):
            self.tables[-1][-1][-1] += data

    def images(self, kind):
        """The images of a kind: alternative text and file."""
        start = f"data:image/{kind};base64,"
        found = [attributes for tag, attributes in self.tags if tag == "img"]
        return [
            (a["alt"], base64.b64decode(a["src"].removeprefix(start), validate=True))
            for a in found
            if a["src"].startswith(start)
        ]


@pytest.fixture(scope="module")
def runs(trainer, small):
    """Three finished runs of two settings, of 47 steps, and their results."""
    flags = (*small, "--batch_size=64", "--epochs=2", "--max_steps=47", "--log_interval=1")
    done = [
        trainer(*flags, "--lr=0.05", "--seed=0"),
        trainer(*flags, "--lr=0.05", "--seed=1"),
        trainer(*flags, "--optimizer=adam", "--lr=0.01", "--schedule=onecycle"),
    ]
    assert [run.code for run in done] == [0, 0, 0], done[0].err
    return done


def test_the_page_of_real_runs(tmp_path, runs):
    output = tmp_path / "new/report.html"
    done = report(*(run.folder for run in runs), f"--output={output}")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    page = Page(output)
    headline, verdict, wrote = done.stdout.splitlines()
    assert wrote == f"Wrote {output}"
    text = "".join(page.text).replace("\N{NO-BREAK SPACE}", " ")
    assert headline in text
    assert verdict in text

    # It needs nothing else.
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "base"})
    for tag, attributes in page.tags:
        for name in {"src", "href", "srcset", "data", "action"} & set(attributes):
            assert attributes[name].startswith("data:"), (tag, name, attributes[name][:80])
    assert not re.search(r"https?:|@import|url\(", page.source)

    # The tables say what the results say.
    results = [run.result() for run in runs]
    settings, _, single = page.tables
    head, *rows = single
    tested = {row[head.index("seed")] + row[head.index("test, %")] for row in rows}
    assert tested == {
        f"{result['config']['seed']}{100 * result['test_accuracy']:.2f}" for result in results
    }
    head, *rows = settings
    assert head[1:4] == ["optimizer", "lr", "schedule"]
    assert sorted(row[1:4] for row in rows) == [
        ["adam", "0.01", "onecycle"], ["momentum", "0.05", "constant"]
    ]  # fmt: skip
    validation = [float(row[head.index("validation, %")]) for row in rows]
    assert validation == sorted(validation, reverse=True)

    # Nine pictures of curves with a line for each run, and the gravest mistakes of the best run.
    curves = page.images("svg+xml")
    assert len(curves) == 9
    for alt, svg in curves:
        assert "a line for each of 3 runs" in alt
        ET.fromstring(svg)  # noqa: S314  our own
        lines = re.findall(rb'<g id="line2d_\d+">\s*<path d="[^"]+" clip-path[^>]+>', svg)
        assert len([line for line in lines if b"stroke-width: 1.1" in line]) == 3, alt
    best = max(runs, key=lambda run: run.result()["validation_accuracy"])
    if rows[0][1] == "momentum":  # its two seeds
        best = max(runs[:2], key=lambda run: run.result()["validation_accuracy"])
    with np.load(best.folder / "out/predictions.npz") as arrays:
        found = {name: arrays[name] for name in arrays.files}
    mistakes = page.images("png")
    assert len(mistakes) == len(found["mistake_index"]) == 48
    for (alt, file), index, image in zip(
        mistakes, found["mistake_index"], found["mistake_image"], strict=True
    ):
        label, prediction = found["label"][index], found["prediction"][index]
        assert alt == f"test image {index}: label {label}, prediction {prediction}"
        shown = matplotlib.image.imread(io.BytesIO(file))[..., 0]
        np.testing.assert_array_equal(np.rint(255 * shown), 255 - image[..., 0])

    # The confusion matrix, counted one by one.
    matrix = np.zeros((10, 10), int)
    for label, prediction in zip(found["label"], found["prediction"], strict=True):
        matrix[label, prediction] += 1
    confusion = [[int(cell or 0) for cell in row[1:]] for row in page.tables[1][1:]]
    assert confusion == matrix.tolist()


def test_markdown_of_real_runs(runs):
    """In a terminal, where matplotlib isn't installed."""
    done = report(*(run.folder for run in runs), "--format=md", command=BARE)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    title, _, verdict, *rest = done.stdout.splitlines()
    assert re.fullmatch(
        r"# \w+, lr [\d.]+, \w+ was best: [\d.]+ % ± [\d.]+ on the test set\.", title
    )
    assert verdict.startswith("**")
    assert [line for line in rest if line.startswith("#")][:2] == ["## Settings", "## Runs"]
    tables = "\n".join(rest).split("\n\n")
    settings, single = (block for block in tables if block.startswith("| "))
    for table, rows in ((settings, 2), (single, 3)):
        lines = table.splitlines()
        assert len(lines) == 2 + rows
        assert len({len(line) for line in lines}) == 1, "the columns don't line up"
        assert len({line.count("|") for line in lines}) == 1
        assert re.fullmatch(r"(\| -+[-:] )+\|", lines[1])
    for run in runs:
        assert f"{100 * run.result()['test_accuracy']:.2f}" in single


def test_without_matplotlib_a_page_says_what_to_install(tmp_path):
    write(tmp_path / "run")
    output = tmp_path / "report.html"
    line = refused(report(tmp_path / "run", f"--output={output}", command=BARE))
    assert "pip install 'mnist_dist[report]'" in line
    assert "--format=md" in line
    assert not output.exists()


def test_the_same_runs_give_the_same_page_where_it_is_wanted(tmp_path):
    """./report.html by default; names and flags are shown as they are and run nothing."""
    name = "<b>&amp; 'x' \"y\" | z"
    write(tmp_path / "runs" / name, label_prediction=answers(30, 4), optimizer="<script>alert(1)")
    write(tmp_path / "runs/killed").joinpath("result.json").unlink()
    pages = []
    for _ in range(2):
        done = report("runs", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout.endswith("Wrote report.html\n")
        pages.append((tmp_path / "report.html").read_bytes())
    assert pages[0] == pages[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "runs"]
    page = Page(tmp_path / "report.html")
    assert "script" not in {tag for tag, _ in page.tags}
    assert page.tables[-2][1][0] == name
    assert any("<script>alert(1), lr 0.01" in text for text in page.text)
    assert page.tables[-1][1] == ["killed", "15", "70.00", "60.00", page.tables[-1][1][-1]]
    assert "it may be still going" in page.tables[-1][1][-1]


def test_the_words_say_which_data_they_are_of(tmp_path):
    """Where there is more than one set; a setting's lead is then told for each by itself."""
    for data in ("ab", "cd"):
        for lr, wrong in ((0.1, 1), (0.2, 5)):
            folder = tmp_path / "runs" / f"{data}-{lr}"
            write(folder, 1 - wrong / 10, lr=lr, data_dir=f"/{data}", changes={"data": data * 16})
    page = ("--format=md", f"--output={tmp_path}/page.md")
    done = report(tmp_path / "runs", *page)
    assert done.returncode == 0, done.stderr
    heads = [line for line in done.stdout.splitlines() if " was best: " in line]
    assert [head.partition(" was best")[0] for head in heads] == [
        *("/ab, fingerprint abababab: lr 0.1", "/cd, fingerprint cdcdcdcd: lr 0.1")
    ]
    done = report(tmp_path / "runs/ab-0.1", tmp_path / "runs/ab-0.2", *page)
    assert done.stdout.startswith("lr 0.1 was best: ")


def test_many_settings(tmp_path):
    """The best eight have colours, the others share one; a long table of runs is folded."""
    for number in range(20):
        write(tmp_path / f"runs/{number:02}", lr=0.01 * number, validation=0.5 + 0.01 * number)
    done = report(tmp_path / "runs", "--output", tmp_path / "page.html")
    assert done.returncode == 0, done.stderr
    page = Page(tmp_path / "page.html")
    assert "the other 12 settings" in page.text
    assert [row[1] for row in page.tables[0][1:3]] == ["0.19", "0.18"]
    swatches = [a["style"] for tag, a in page.tags if a.get("class") == "swatch"]
    assert len(set(swatches[:20])) == 9
    assert "It has no predictions.npz to show." in page.text
    assert ("details", {}) in page.tags


def test_markdown_into_a_file(tmp_path):
    """Through a link, which stays one."""
    write(tmp_path / "a|b")
    (tmp_path / "table.md").symlink_to("there.md")
    done = report(tmp_path / "a|b", "--format=md", f"--output={tmp_path}/table.md")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "table.md").is_symlink()
    text = (tmp_path / "there.md").read_text()
    assert text.startswith("# momentum, lr 0.01: 98.00 % ± 0.14 on the test set.\n")
    assert "| a\\|b " in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "required: RUN_DIR"),
        (["{}/none"], "{}/none: no such folder; give a run's --run_dir"),
        (["{}/run", "{}/file"], "{}/file: a file"),
        (["{}/empty"], "no result.json or metrics.jsonl there"),
        (["{}/killed"], "no finished run among 1 (killed at step 15: no result yet"),
        (["{}/run", "--format=pdf"], "invalid choice: 'pdf'"),
        (["{}/run", "--ouput=x"], "--ouput: no such flag; did you mean --output?"),
        (["{}/run", "--output={}/file/report.html"], "{}/file: can't write there"),
        (
            ["{}/run", "--output={}/empty"],
            "--output={}/empty: isn't a regular file; give another name",
        ),
        (
            ["{}/run", "--output={}/pipe"],
            "--output={}/pipe: isn't a regular file; give another name",
        ),
    ],
)
def test_wrong_input_is_one_line(tmp_path, arguments, said):
    write(tmp_path / "run")
    write(tmp_path / "killed").joinpath("result.json").unlink()
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("kept")
    os.mkfifo(tmp_path / "pipe")
    before = sorted(tmp_path.rglob("*"))
    line = refused(report(*(word.format(tmp_path) for word in arguments), cwd=tmp_path))
    assert said.format(tmp_path) in line
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "file").read_text() == "kept"


def test_a_full_disk_is_one_line(tmp_path):
    """Here a limit of 1,024 bytes for a file: an earlier report stays as it was."""
    for number in range(9):
        write(tmp_path / f"runs/{number}")
    (tmp_path / "table.md").write_text("kept")
    limited = ("bash", "-c", 'ulimit -f 1; exec "$@"', "bash", *REPORT)
    done = report(
        tmp_path / "runs", "--format=md", f"--output={tmp_path}/table.md", command=limited
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"mnist_dist: --output={tmp_path}/table.md: can't be written (File too large)\n"
    )
    assert (tmp_path / "table.md").read_text() == "kept"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs", "table.md"]


def test_a_terminal_that_knows_ascii_only(tmp_path):
    write(tmp_path / "run")
    command = ("env", "PYTHONIOENCODING=ascii", *REPORT)
    done = report(tmp_path / "run", "--format=md", command=command)
    assert done.returncode == 0, done.stderr
    assert "98.00 % ? 0.14 on the test set" in done.stdout
