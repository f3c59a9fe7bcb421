"""README and docs: local links lead somewhere, commands are run by a test or said not to be."""

import ast
import re
import runpy
import shlex

import pytest

from mnist_dist import flags
from tests.pages import PAGES, ROOT, SHELL, STARTS, anchors, blocks, commands, links

TRAIN = "python -m mnist_dist.train"

RUN_BY = {
    # A command, as a regular expression -> the test that runs it, with what a test may change
    # (a smaller network, fewer steps, another folder), or a script.
    rf"{TRAIN} --no_gpu --data_dir=digits .*|python -m mnist_dist\.evaluate runs/digits .*": (
        "tests/process/data/test_what_people_hold.py::test_from_kaggles_tables_to_a_submission"
    ),
    rf"{TRAIN}( --[\w=.,/-]+)*": "tests/process/test_commands.py::test_training",
    r"srun (--\S+ )*python -m mnist_dist\.train.*": (
        "tests/slurm/test_training_jobs.py::test_the_curve_of_a_single_process"
    ),
    r"python -m mnist_dist( --version)?": "tests/unit/test_main.py::test_it_lists_every_command",
    r"python -m mnist_dist\.doctor( --no_gpu)?": (
        "tests/process/doctor/test_doctor.py::test_alone_it_says_what_would_run_and_leaves_nothing"
    ),
    r"srun python -m mnist_dist\.doctor": "tests/slurm/test_doctor_on_slurm.py::test_well",
    r"(srun (--nodes=\d+ )?)?python -m mnist_dist\.doctor --burn_in=\d+": (
        "tests/process/doctor/test_burn_in.py::test_a_sound_machine_is_well"
    ),
    r"python -m mnist_dist\.bench --no_gpu --virtual_devices=2": (
        "tests/process/bench/test_bench.py::test_two_devices_of_one_process"
    ),
    r"(srun (--nodes=\d+ )?)?python -m mnist_dist\.bench( --.*)?": (
        "tests/process/bench/test_bench.py::test_two_workers"
    ),
    r"launch/local\.sh (-n 2 )?-m bench.*": ("tests/process/bench/test_bench.py::test_two_workers"),
    r"python -m mnist_dist\.compare \S+ \S+": (
        "tests/process/compare/test_comparisons.py::"
        "test_digests_change_no_bit_and_come_at_their_steps"
    ),
    r"python -m mnist_dist\.report \S+( --format=html)?": (
        "tests/process/report/test_report.py::"
        "test_the_same_runs_give_the_same_page_where_it_is_wanted"
    ),
    r"python -m mnist_dist\.report \S+ --format=md": (
        "tests/process/report/test_report.py::test_markdown_of_real_runs"
    ),
    r"python -m mnist_dist\.data\.prepare --data_dir=D": (
        "tests/process/data/test_prepare.py::test_plain_tfds_reads_it"
    ),
    r"python -m mnist_dist\.evaluate \S+( --split=\w+)?( --mistakes=\S+)?": (
        "tests/process/use/test_evaluate.py::test_the_text_and_the_picture"
    ),
    r"python -m mnist_dist\.evaluate \S+ --data_dir=\S+( --json)?": (
        "tests/process/use/test_evaluate.py::test_other_data"
    ),
    r"python -m mnist_dist\.evaluate \S+ --tta": (
        "tests/process/use/test_evaluate.py::test_averaged_over_views"
    ),
    r"python -m mnist_dist\.evaluate \S+ --images .*": (
        "tests/process/use/test_evaluate.py::test_drawn_digits"
    ),
    r"python -m mnist_dist\.export \S+ \S+": "tests/process/use/test_export.py::test_versions",
    rf"{TRAIN} --no_gpu --network=\S+ .*": (
        "tests/process/network/test_own.py::test_the_same_bits_on_any_number_of_replicas"
    ),
    r"python -m mnist_dist\.export \S+ \S+ --tflite": (
        "tests/process/use/test_export.py::test_tflite_files_are_scored"
    ),
    r"python -m mnist_dist\.demo \S+( --host=\S+)?": (
        "tests/process/demo/test_demo.py::test_strokes_are_read_while_one_draws"
    ),
    r"launch/local\.sh -n \d+ -- .*": (
        "tests/process/launch/test_local_launcher.py::test_a_training_of_two_workers"
    ),
    r"launch/ssh\.sh --hosts=\S+ -- .*": (
        "tests/process/launch/test_ssh_launcher.py::test_a_worker_on_each_host"
    ),
    r"launch/ssh\.sh (--hostfile=\S+ --restarts=\d )?-- .*": (
        "tests/process/launch/test_ssh_launcher.py::test_the_hosts_of_a_scheduler_and_of_a_file"
    ),
    rf"mpirun -n \d+ {TRAIN} .*": (
        "tests/process/cluster/test_mpi.py::test_the_processes_train_one_run_with_the_bits_of_one"
    ),
    rf"salloc --nodes=2 mpirun -n 2 {TRAIN} .*": (
        "tests/slurm/test_mpirun_in_a_job.py::test_two_workers_train_one_run"
    ),
    r"mpirun -n \d+ python -m mnist_dist\.doctor": (
        "tests/process/cluster/test_mpi.py::test_the_doctor_shows_how_they_share_the_host"
    ),
    r"sbatch (--[\w=-]+ )*launch/train\.slurm.*": (
        "tests/slurm/test_training_jobs.py::test_the_curve_of_a_single_process"
    ),
    r"sbatch (--[\w=-]+ )*launch/sweep\.slurm.*": "tests/slurm/test_scripts.py::test_a_sweep",
    r"sbatch --signal=USR1@300.*|scancel --signal=USR2 <job>": (
        "tests/slurm/test_training_jobs.py::test_told_to_stop_by_hand_it_goes_on_in_the_allocation"
    ),
    r"scontrol requeue <job>": "tests/slurm/test_training_jobs.py::test_requeued_by_the_operator",
    r"scontrol suspend": "tests/slurm/test_interrupted_jobs.py::test_suspended_and_resumed",
    r"sbatch --time": (
        "tests/slurm/test_scripts.py::"
        "test_a_time_limit_below_the_signals_lead_is_said_at_the_first_start"
    ),
    r"export TF_CONFIG=.*": (
        "tests/process/cluster/test_workers.py::"
        "test_told_to_stop_all_save_at_one_step_and_leave_with_75"
    ),
    r"python docs/api\.py \w+": (
        "tests/process/test_api_reference.py::test_it_is_built_without_a_warning"
    ),
    r"python docs/flags\.py": "tests/unit/test_pages.py::test_the_page_of_flags_is_up_to_date",
    r"pip install -c constraints.txt -e '\.\[[\w,]+\]'|tests/run": ".ci/run",
    r"python -m pytest tests/\S+( tests/\S+)*( -k \w+)?": "tests/run",
    r"tensorboard --logdir \S+": "tests/process/run/test_files_page.py::test_tensorboard",
}

NOT_RUN = {
    # A command, as a regular expression -> why no test runs it.
    r"unzip digit-recognizer\.zip .*": "Kaggle's archive; a test writes its like",
    r"python -m tests.mutants .*": "takes minutes; its survivors are to be read",
    r"scontrol suspend|sbatch --time": "named in a sentence; alone they are no command",
    r"pip install .*": "installs from the network; .ci/run does so on a bare machine",
    r"pip (freeze|show) .*": "tells versions, changes nothing",
    r"python\S* -m venv \S+|\. \S+/activate|cd \S+|git clone .*|module load .*|tail -F .*": (
        "the reader's own environment; .ci/run makes one"
    ),
    r"tests/run .*": "options of tests/run, which .ci/run runs",
    r"flux run .*|torchrun .*": "not at hand; their variables are tested as documented",
    r"launch/ssh\.sh --hosts=\S+ -m doctor -- .*": (
        "test_ssh_launcher.py starts the trainer so; the module's name is all that differs"
    ),
    r"pre-commit install": "sets up a git hook; it calls tests/run --check",
    r"\.ci/run": "installs Debian packages; CI runs it",
    r"export MNIST_DIST_\w+=.*": "containers aren't at hand; words in front are tested on SLURM",
    r"(docker|apptainer) .*": "containers can't be built here",
    r"python docs/(curves|experiments|screenshots)\.py.*": "draws pictures of long trainings",
    r"python (-m )?benchmarks\S+.*": "a benchmark: its numbers are of a quiet machine alone",
    r"for n in layers.*": "hours of training; tests/slurm/test_scripts.py runs a sweep",
    rf"{TRAIN} --shards=8 --virtual_devices=4 \| tail -1|srun {TRAIN} --shards=8 \| tail -1": (
        "docs/exact.md; tests/devices/test_exact.py and tests/slurm/test_exact_on_slurm.py run it"
    ),
}


def all_commands():
    return dict.fromkeys((p.relative_to(ROOT), c) for p in PAGES for c in commands(p.read_text()))


@pytest.mark.parametrize(("page", "command"), all_commands(), ids=str)
def test_a_command_is_run_or_said_not_to_be(page, command):
    found = [by for pattern, by in (RUN_BY | NOT_RUN).items() if re.fullmatch(pattern, command)]
    assert found, f"{page}: give `{command}` a line in RUN_BY, or in NOT_RUN with a reason"


@pytest.mark.parametrize("by", sorted(set(RUN_BY.values())))
def test_the_test_that_runs_it_is_there(by):
    path, _, name = by.partition("::")
    assert (ROOT / path).is_file()
    if name:
        tree = ast.parse((ROOT / path).read_text())
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(("page", "command"), all_commands(), ids=str)
def test_flags_and_files_of_a_command_are_there(page, command, monkeypatch):
    """Without a run: a flag that was renamed, a recipe that was moved."""
    monkeypatch.chdir(ROOT)
    if "$" in command or "<" in command:
        return
    words = shlex.split(command)
    starts = [
        n for n, w in enumerate(words) if w in ("mnist_dist.train", "launch/train.slurm", "--")
    ]
    if starts:
        given = words[starts[-1] + 1 :]
        flags.parse(given[: given.index("|")] if "|" in given else given)
    for word in words:
        if re.match(r"(launch|configs|docs|benchmarks|tests)/", word):
            assert (ROOT / word).exists(), word


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_local_links_lead_somewhere(page):
    for link in links(page.read_text()):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{link}: no such file"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target.read_text()), f"{link}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_stand_in_blocks_of_the_shell(page):
    """Else they would escape the tests above."""
    for language, lines in blocks(page.read_text()):
        if language not in SHELL:
            assert not [line for line in lines if STARTS.match(line)], (
                f"mark the block as {SHELL[0]}"
            )


def test_the_page_of_flags_is_up_to_date():
    page = ROOT / "docs/flags.md"
    text = runpy.run_path(str(ROOT / "docs/flags.py"))["page"]()
    assert page.read_text() == text, "python docs/flags.py writes it"


def texts():
    """All that the package may print: strings of its source, … where a value is put in."""
    for path in sorted((ROOT / "mnist_dist").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                yield "".join(v.value if isinstance(v, ast.Constant) else "…" for v in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


OTHERS = ("No module named 'mnist_dist'", "Killed", "ResourceExhaustedError")


def test_the_messages_of_the_page_are_the_programs():
    """Each symptom in a first column, or what it has between its …, stands in one text."""
    page = (ROOT / "docs/troubleshooting.md").read_text()
    symptoms = re.findall(r"^\| `([^`]+)`", page, re.M)
    assert len(symptoms) > 20
    known = [*texts(), *OTHERS]
    for symptom in symptoms:
        parts = [part.strip(" ()") for part in symptom.split("…")]
        assert any(all(part in text for part in parts) for text in known), symptom


def test_the_files_to_read_have_about_their_lines():
    """README's "How it works": a reader plans by it, so a quarter more or less is a new number."""
    readme = (ROOT / "README.md").read_text()
    rows = re.findall(r"^\| \[[\w/.]+\]\((mnist_dist/[\w/]+\.py)\) \| (\d+) \|", readme, re.M)
    assert len(rows) > 8
    lines = {path: len((ROOT / path).read_text().splitlines()) for path, _ in rows}
    off = {path: lines[path] for path, said in rows if not 0.75 < lines[path] / int(said) < 1.25}
    assert off == {}, "say how many lines they have"


PAGE = """
# A heading, `code` & [a link](b.md)
## Same
## Same
See [x](x.md#y "title"), ![p](<p.png>) and `[no](link)` and `sbatch a.sh` and `--flag`
and `python …`.
````sh
$ one --flag   # a comment
two \\
  --more && three
# nothing
for a in b; do
  c $a
done
````
```
python untagged [no](link2)
```
[ref]: ref.md
"""


def test_the_reader_of_pages():
    """So that the tests above can fail."""
    assert commands(PAGE) == [
        "one --flag", "two --more", "three", "for a in b; do c $a done", "sbatch a.sh"
    ]  # fmt: skip
    assert links(PAGE) == ["b.md", "x.md#y", "p.png", "ref.md"]
    assert anchors(PAGE) == {"a-heading-code--a-link", "same", "same-1"}
    assert [language for language, _ in blocks(PAGE)] == ["sh", ""]
    assert {ROOT / "README.md", ROOT / "docs/files.md", ROOT / "launch/README.md"} <= set(PAGES)
