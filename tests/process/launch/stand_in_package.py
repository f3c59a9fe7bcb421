"""A copy of the package whose trainer is a stand-in, and a launcher's script beside it."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def install(folder: Path, script: str, trainer: str) -> Path:
    """Writes the copy into a folder.

    Args:
        folder: gets mnist_dist/ and launch/.
        script: the launcher's name, such as local.sh.
        trainer: the text of train.py.

    Returns:
        The script's path.
    """
    for path in (ROOT / "mnist_dist").glob("**/*.py"):
        copy = folder / path.relative_to(ROOT)
        copy.parent.mkdir(exist_ok=True, parents=True)
        copy.write_text(path.read_text())
    (folder / "mnist_dist/train.py").write_text(trainer)
    launcher = folder / "launch" / script
    launcher.parent.mkdir()
    launcher.write_text((ROOT / "launch" / script).read_text())
    return launcher
