"""The container definitions, which nobody could build here: what can be checked without."""

import re
import shlex
from pathlib import Path

import pytest

from mnist_dist import flags

ROOT = Path(__file__).parents[3]
APPTAINER = (ROOT / "launch/container.def").read_text()
DOCKER = (ROOT / "launch/Dockerfile").read_text()


def test_what_is_copied_is_there_and_the_same():
    files = re.search(r"%files\n((?:    .*\n)+)", APPTAINER)[1].split()
    copied = [files[i] for i in range(0, len(files), 2)]
    assert files[1::2] == [f"/opt/mnist_dist/{name}" for name in copied]
    words = [line.split()[1:-1] for line in re.findall(r"^COPY .*", DOCKER, flags=re.M)]
    assert sorted(copied) == sorted(word for line in words for word in line)
    assert all((ROOT / name).exists() for name in copied)


def test_the_same_image_and_installation():
    [image] = re.findall(r"^From: (.*)", APPTAINER, flags=re.M)
    assert re.findall(r"^FROM (.*)", DOCKER, flags=re.M) == [image]
    version = re.search(r"^tensorflow==(.*)", (ROOT / "constraints.txt").read_text(), flags=re.M)[1]
    assert image == f"tensorflow/tensorflow:{version}-gpu"
    lines = [re.search(r"python -m pip .*", text)[0] for text in (APPTAINER, DOCKER)]
    assert lines[0] == lines[1].removesuffix(" \\")


@pytest.mark.parametrize("text", [APPTAINER, DOCKER])
def test_its_trial_is_understood(text):
    [line] = re.findall(r"python -m mnist_dist\.train (--no_gpu.*)", text)
    config = flags.parse(shlex.split(line))
    assert config.max_steps == 1
