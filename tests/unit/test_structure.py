"""The package's shape: rooms, imports that go downwards, one place that takes Config apart.

Read from the source by `ast`, imports inside functions too.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mnist_dist

PACKAGE = Path(mnist_dist.__file__).parent
UNIT = Path(__file__).parent

# The picture of "How it works" from bottom to top: a room imports from rooms below its own alone,
# and those side by side know nothing of one another. What stands at the top level has a row, too.
ROOMS = [
    "__init__ errors bounded layers",
    "limits optimizers exits",
    "config flagfile",
    "run",
    "flags",
    "devices network",
    "data",
    "cluster",
    "launch",
    "numerics training",
    "assembly run_files",
    "auto_precision reduce_choice",
    "train report doctor bench local ssh use compare",
    "evaluate export demo __main__",
]
ROOM = {name: number for number, names in enumerate(ROOMS) for name in names.split()}

# Inside a room, from bottom to top. A new module gets its place here.
INSIDE = {
    "run": [
        "atomic bar digest folders frames owner plot_style result text_table trace versions",
        "console lock_files logs pictures store",
        "command find lock publishing tensorboard truncation",
        "events checkpoint",
    ],
    "devices": [
        "failures nvidia processor replica_placement resources startup_messages "
        "tensorflow_private timing_fit",
        "arithmetic hardware multi_worker",
        "visible",
        "strategy all_reduce_timing",
    ],
    "network": [
        "architecture own_file xla",
        "row_positions describe forward keras_graph",
        "augment layers branch",
        "branch_layers keras_model own_checks own_table",
        "model",
        "own",
        "views",
    ],
    "data": [
        "checking emnist order split",
        "class_names decode idx pipeline tfds validation",
        "npz",
        "array_files csv_files idx_files parquet_files picture_folders",
        "find",
        "device_blocks sources",
        "prepare",
    ],
    "cluster": [
        "address connecting deadline descriptors hostlist job messages",
        "addresses event_loop handshake launched meeting_file peer slurm tf_config",
        "group reachability topology",
        "admission liveness ports",
        "host_share introduction reception",
        "rendezvous",
        "session tool",
    ],
    "launch": [
        "accusation attempts decision hosts slurm_job ssh_problems sweep",
        "slurm_ending slurm_owner slurm_report slurm_settings standby_step workers",
        "processes slurm_step supervisor",
        "agent command slurm_supervisor",
        "slurm ssh_worker standby",
        "remote",
    ],
    "training": [
        "bit_digest bit_kinds bit_verdict early_stopping gathering loss_scale optim plan "
        "precision_choice reduce_plan save_deadline schedule step_records stop weights_digest",
        "diverged log_header progress reduction state",
        "repeated starting_weights tree_reduction",
        "bit_checks replica",
        "shards",
        "steps",
        "evaluation",
        "reporter",
        "loop",
        "resume finish",
    ],
    "report": [
        "files style",
        "results",
        "runs",
        "settings",
        "comparison figures",
        "tables",
        "answer",
        "markdown html",
        "__main__",
    ],
    "use": [
        "brightness origin picture_files pieces",
        "handwriting",
        "model",
        "loading score serving device",
        "classify score_report",
        "table",
    ],
    "bench": [
        "model plan product_timing timed_training",
        "level page start result",
        "child figure",
        "__main__",
    ],
    "compare": ["files", "difference", "__main__"],
    "demo": ["classifier server", "__main__"],
    "doctor": ["burn_in connectivity facts gpu report", "__main__"],
}

UPWARDS = {("__init__", "use.model"), ("__init__", "use.loading")}
"""`from mnist_dist import load` stands at the package's door, and imports when it is called."""

ENVIRONMENT = {
    "train": "passes the launch variables on to topology",
    "doctor.__main__": "the same",
    "bench.__main__": "the same",
    "launch.processes": "starts workers, whose TF_CONFIG it sets",
    "launch.slurm": "passes SLURM's and the site's variables on to the job's settings",
    "launch.standby": "the same, on another node",
    "launch.remote": "starts workers on other hosts, which get some of its variables",
    "launch.ssh_worker": "starts ssh, whose shell there gets PYTHONPATH",
    "launch.agent": "starts a worker there",
    "ssh": "passes a scheduler's variables on",
    "devices.nvidia": "which of the machine's GPUs CUDA shows",
    "devices.multi_worker": "TensorFlow is told the cluster by TF_CONFIG",
    "devices.startup_messages": "log level, oneDNN and XLA, read by TensorFlow at import",
}

KNOWS_CONFIG = {
    "flags": "makes it",
    "assembly": "builds what computes from it",
    "numerics": "chooses precision, layout and XLA from it",
    "run_files": "builds a run's files from it",
    "reduce_choice": "settles --reduce",
    "auto_precision": "measures with what assembly makes",
    "train": "hands it to assembly",
    "doctor.__main__": "judges the flags",
    "doctor.burn_in": "the same",
    "doctor.facts": "the same",
    "doctor.connectivity": "the same",
    "doctor.report": "the same",
    "launch.command": "whether a run can be resumed",
    "bench.__main__": "hands the flags on to the processes that it starts",
    "bench.level": "measures what they ask for",
    "bench.timed_training": "the same",
    "launch.slurm_settings": "what a launcher has to know of the flags",
    "use.origin": "reads it back from a checkpoint",
}


def modules():
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = ast.parse(path.read_text())
    return found


MODULES = modules()


def room(name):
    return name.partition(".")[0]


def inside(name):
    """A module's name in its room; empty for the room itself, or what stands at the top level."""
    return name.partition(".")[2]


def imports(tree):
    """Dotted names of all that a module imports: of `from a import b`, both a and a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(name):
    """The package's modules that a module imports."""
    for full in imports(MODULES[name]):
        inner = full.removeprefix("mnist_dist.") if full != "mnist_dist" else "__init__"
        if full.split(".")[0] == "mnist_dist" and inner in MODULES:
            yield inner


def test_every_room_and_every_module_has_its_place():
    assert {room(name) for name in MODULES} == set(ROOM), "give it a place in ROOMS"
    for name, rows in INSIDE.items():
        there = {inside(module) for module in MODULES if room(module) == name} - {""}
        assert there == set(" ".join(rows).split()), f"give it a place in INSIDE[{name!r}]"
    assert {room(name) for name in MODULES if inside(name)} == set(INSIDE)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_go_downwards(name):
    rows = INSIDE.get(room(name), [])
    place = {module: number for number, row in enumerate(rows) for module in row.split()}
    for other in {other for other in own_imports(name) if (name, other) not in UPWARDS}:
        if room(other) != room(name):
            assert ROOM[room(other)] < ROOM[room(name)], f"{name} imports {other}, not below it"
        elif inside(other):
            assert place[inside(other)] < place[inside(name)], f"{name} imports {other}"


@pytest.mark.parametrize("name", sorted(INSIDE))
def test_a_room_says_in_three_lines_what_it_is_for(name):
    """What it is for, what comes in, what must not; and it holds nothing itself."""
    tree = MODULES[name]
    assert len(tree.body) == 1, "a room re-exports nothing"
    first, empty, *rest = ast.get_docstring(tree).splitlines()
    assert first.endswith(".")
    assert empty == ""
    assert [line.partition(":")[0] for line in rest] == ["In", "Not in"]


def test_the_reader_of_imports_sees_all_forms():
    """So that the tests above can fail."""
    text = "import a.b\nfrom c import d\ndef f():\n    from e.f import g as h\n"
    assert list(imports(ast.parse(text))) == ["a.b", "c", "c.d", "e.f", "e.f.g"]
    assert {"config", "errors"} <= set(own_imports("flags"))
    assert {"cluster.session", "assembly", "flags"} <= set(own_imports("train"))
    assert (room("a.b.c"), inside("a.b.c"), inside("a")) == ("a", "b.c", "")


def test_config_makes_one_trip():
    """It is made of flags, handed to assembly, and no room sees it."""
    readers = {name for name in MODULES if "config" in own_imports(name)}
    assert readers == set(KNOWS_CONFIG)


def test_flags_are_read_in_one_place():
    readers = {"absl.flags", "absl.app"}
    assert {name for name in MODULES if readers & {*imports(MODULES[name])}} == {"flags"}


def test_the_environment_is_touched_in_few_places():
    def touches(tree):
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv", "putenv"):
                return True
            if isinstance(node, ast.ImportFrom) and node.module == "os":
                return True
        return False

    assert {name for name, tree in MODULES.items() if touches(tree)} == set(ENVIRONMENT)


def test_the_upper_layers_know_no_strategy():
    """The loop, the model and the data know neither how many replicas there are nor where."""
    unknown = {"devices.strategy", "cluster.session", "cluster.topology"}
    for name in (
        *("training.loop", "training.optim", "training.evaluation", "network.model"),
        *("network.layers", "data.pipeline", "data.order"),
    ):
        assert not unknown & set(own_imports(name))


def reached(name):
    """The modules that a module imports, and those that they import, and so on."""
    found, pending = set(), [name]
    while pending:
        one = pending.pop()
        new = {other for other in own_imports(one) if (one, other) not in UPWARDS} - found
        found |= new
        pending += new
    return found


def test_training_imports_nothing_that_is_for_afterwards():
    """Scoring, pages and reports don't make its start slower."""
    rooms = {room(name) for name in reached("train")}
    assert {"training", "data", "network", "run", "cluster"} <= rooms
    later = {"use", "demo", "report", "doctor", "bench", "evaluate", "export", "compare"}
    assert not rooms & later
    assert {"use", "evaluate"} <= {room(name) for name in (*reached("evaluate"), "evaluate")}


BANNED = {
    "Course": "a schedule is a LearningRateSchedule",
    "Lead": "say what is checked: SaveDeadlineCheck",
    "Rule": "say of what: OptimizerSettings, EarlyStopping",
    "Trainee": "say what it is used for",
    "Waiting": "a Deadline",
    "Countdown": "a Deadline",
    "at_step": "report_step",
    "told": "stop_requested, signal_name, or what it is",
    "where": "topology, worker_name, or what it is",
    "elsewhere": "a free folder, or what it is",
    "seal": "a digest",
    "rewind": "truncate",
}
"""Names that misled readers, and what to say instead."""


def defined(tree):
    """The names of a module's classes, functions, arguments, variables and attributes."""
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.arg(arg=name):
                yield name
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name


@pytest.mark.parametrize("name", sorted(MODULES))
def test_misleading_names_stay_away(name):
    modules_own = set(name.split("."))
    used = {word.strip("_") for word in {*defined(MODULES[name]), *modules_own}}
    assert {word: BANNED[word] for word in used & set(BANNED)} == {}


def test_the_reader_of_names_sees_all_kinds():
    """So that the test above can fail."""
    text = "class A: b: int = 1\ndef c(d, *e, f=g): h = i.j; self.k = 1\nfor m in n: lambda o: p\n"
    assert set(defined(ast.parse(text))) == set("Abcdefhkmo")


def test_autograph_rewrites_loops_alone():
    """It reads all code that is called, which took 4 s of a start: each graph says if it may."""
    asked = {}
    for name, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "tf.function":
                given = {word.arg: ast.unparse(word.value) for word in node.keywords}
                asked.setdefault(name, []).append(given.get("autograph", "not said"))
    assert sorted(asked.pop("training.steps")) == ["False", "loops"]
    assert asked.pop("devices.all_reduce_timing") == ["True"]
    assert {word for words in asked.values() for word in words} == {"False"}


def test_unit_tests_mirror_the_rooms():
    for kind in (UNIT, UNIT.parent / "process"):
        folders = {path.parent.name for path in kind.glob("*/test_*.py")}
        assert folders - {"faults"} <= set(INSIDE)  # faults: of the disk, in whole runs


def test_unit_tests_need_no_tensorflow():
    """All test modules here are imported in one process, with all that they import."""
    heavy = ("tensorflow", "keras", "tensorflow_datasets")
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]: importlib.import_module(f'tests.unit.{name}')\n"
        f"loaded = set({heavy!r}) & set(sys.modules)\n"
        "assert 'mnist_dist.config' in sys.modules\n"
        "assert not loaded, loaded\n"
    )
    paths = [path.relative_to(UNIT).with_suffix("") for path in UNIT.rglob("*.py")]
    names = [".".join(path.parts) for path in paths]
    assert "test_config" in names
    assert "cluster.test_topology" in names
    command = [sys.executable, "-c", code, *names]
    done = subprocess.run(command, capture_output=True, text=True, cwd=UNIT.parents[1])
    assert done.returncode == 0, done.stderr


LIGHT = """
    __main__ bounded config errors flagfile flags local train
    report.__main__ report.html doctor.__main__ doctor.gpu
    bench.__main__ bench.child demo.__main__ demo.server compare.__main__
    __init__ evaluate export use.brightness use.handwriting use.loading use.origin
    use.picture_files use.pieces
    cluster.host_share cluster.job cluster.launched cluster.meeting_file
    cluster.topology cluster.ports cluster.liveness cluster.rendezvous
    data.checking data.idx data.order data.pipeline data.sources data.split data.tfds
    devices.failures devices.nvidia devices.processor devices.startup_messages devices.resources
    devices.timing_fit
    launch.agent launch.attempts launch.command launch.decision launch.hosts launch.processes
    launch.remote launch.slurm launch.slurm_supervisor launch.ssh_problems
    launch.ssh_worker launch.supervisor launch.workers ssh
    network.architecture network.describe network.own_file
    run.atomic run.bar run.command run.console run.folders run.frames run.lock run.logs run.owner
    run.lock_files run.pictures run.digest run.find run.plot_style run.publishing run.result
    run.store run.text_table run.versions
    training.bit_verdict training.precision_choice training.save_deadline training.early_stopping
    training.plan training.schedule training.starting_weights training.stop
"""


def test_light_modules_stay_light():
    """What answers a wrong command line does so at once: importing it brings no TensorFlow."""
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(f'mnist_dist.{name}')\n"
        "    loaded = {'tensorflow', 'keras', 'tensorflow_datasets'} & set(sys.modules)\n"
        "    assert not loaded, (name, loaded)\n"
    )
    command = [sys.executable, "-c", code, *LIGHT.split()]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
