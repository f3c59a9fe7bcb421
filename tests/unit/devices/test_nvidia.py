"""NVIDIA's library, as a library of the same functions that is compiled here."""

import os
import shutil
import subprocess

import pytest

from mnist_dist.devices.nvidia import Card, cards, driver, shown

CARDS = [Card(f"card {n}", f"GPU-{n}aaa", 100, n, None) for n in range(4)]
SOURCE = """
#include <string.h>
int nvmlInit_v2(void) { return 0; }
int nvmlSystemGetDriverVersion(char *text, unsigned size) {
  strncpy(text, "580.1", size); return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 3; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
  *handle = (void *)(index + 1UL); return index == 1 ? 4 : 0; }
int nvmlDeviceGetMemoryInfo(void *h, unsigned long long *m) {
  m[0] = 100; m[1] = 100 - (unsigned long)h; m[2] = (unsigned long)h; return 0; }
int nvmlDeviceGetUtilizationRates(void *h, unsigned *u) {
  u[0] = 42; u[1] = 7; return (unsigned long)h == 3 ? 3 : 0; }
int nvmlDeviceGetName(void *h, char *text, unsigned size) {
  strncpy(text, "NVIDIA H200", size); return 0; }
int nvmlDeviceGetUUID(void *h, char *text, unsigned size) {
  strncpy(text, "GPU-0", size); text[4] += (unsigned long)h; return 0; }
"""


@pytest.fixture
def library(tmp_path):
    compiler = shutil.which("cc")
    if compiler is None and not os.environ.get("CI"):
        pytest.skip("no C compiler: apt-get install gcc libc6-dev")
    (tmp_path / "nvml.c").write_text(SOURCE)
    made = tmp_path / "libnvml.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", made, tmp_path / "nvml.c"], check=True)
    return str(made)


def test_what_the_library_tells(library, monkeypatch):
    """The second card can't be asked; the third doesn't tell how busy it is."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert driver(library) == "580.1"
    assert cards(library) == (
        Card("NVIDIA H200", "GPU-1", 100, 1, 42),
        Card("NVIDIA H200", "GPU-3", 100, 3, None),
    )
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert [card.uuid for card in cards(library)] == ["GPU-3"]


def test_without_the_library_there_is_nothing():
    assert cards("libnothing-of-the-kind.so.1") == ()
    assert driver("libnothing-of-the-kind.so.1") == ""


@pytest.mark.parametrize(
    ("visible", "indices"),
    [
        (None, [0, 1, 2, 3]),
        ("", []),
        ("2", [2]),
        ("3,1", [3, 1]),
        ("0,-1,2", [0]),
        ("0,9,2", [0]),
        ("GPU-2a,1", [2, 1]),
    ],
)
def test_the_order_of_cuda(visible, indices):
    assert shown(CARDS, visible) == [CARDS[index] for index in indices]
