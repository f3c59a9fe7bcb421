"""The package's shape: imports go downwards, one place reads flags, few look at the environment.

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

# Of the design's picture from bottom to top: a module imports from layers below its own alone.
# A new module gets its place here.
LAYERS = [
    "__init__ errors",
    "config folders hostlist multi_worker quiet resources stop rewind versions data data.split "
    "data.order report_runs report_style",
    "flags schedule patience topology data.idx data.tfds data.pipeline events checkpoint console "
    "report_settings",
    "data.sources ports liveness strategy placement rows report_judge report_figures",
    "rendezvous loss_scale augment layers optim report_tables",
    "model session report_answer",
    "describe steps report_markdown report_html",
    "evaluation",
    "loop",
    "resume",
    "wiring doctor_facts doctor_report doctor_network",
    "train doctor local requeue data.prepare report",
]
LAYER = {name: number for number, names in enumerate(LAYERS) for name in names.split()}

ENVIRONMENT = {
    "train": "passes the launch variables on to topology",
    "doctor": "the same",
    "local": "starts workers, whose TF_CONFIG it sets",
    "multi_worker": "TensorFlow is told the cluster by TF_CONFIG",
    "quiet": "TensorFlow's log level, which it reads when it is imported",
}


def modules():
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = ast.parse(path.read_text())
    return found


MODULES = modules()


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


def test_every_module_has_a_layer():
    assert set(MODULES) == set(LAYER), "give it a place in LAYERS, or take it out"


@pytest.mark.parametrize("name", sorted(LAYER.keys() & MODULES))
def test_imports_go_downwards(name):
    for other in LAYER.keys() & set(own_imports(name)):
        assert LAYER[other] < LAYER[name], f"{name} imports {other}, which isn't below it"


def test_the_reader_of_imports_sees_all_forms():
    """So that the tests above can fail."""
    text = "import a.b\nfrom c import d\ndef f():\n    from e.f import g as h\n"
    assert list(imports(ast.parse(text))) == ["a.b", "c", "c.d", "e.f", "e.f.g"]
    assert {"config", "errors"} <= set(own_imports("flags"))
    assert {"session", "wiring", "flags"} <= set(own_imports("train"))


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
    for name in ("loop", "model", "layers", "optim", "data.pipeline", "data.order", "evaluation"):
        assert not {"strategy", "session", "topology"} & set(own_imports(name))


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
    names = [path.stem for path in UNIT.glob("*.py")]
    assert "test_config" in names
    command = [sys.executable, "-c", code, *names]
    done = subprocess.run(command, capture_output=True, text=True, cwd=UNIT.parents[1])
    assert done.returncode == 0, done.stderr


LIGHT = """
    config flags errors folders hostlist patience resources schedule stop topology ports liveness
    rendezvous requeue local doctor train data.idx data.order data.pipeline data.sources data.split
    data.tfds report report_html
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
