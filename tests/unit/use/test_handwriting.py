"""Pictures of digits become images as MNIST's makers left them."""

import contextlib
import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mnist_dist.data import idx, sources
from mnist_dist.errors import UsageError
from mnist_dist.use import handwriting, picture_files, pieces
from mnist_dist.use.brightness import Unreadable

DRAWN = Path(__file__).parents[2] / "handwriting"
SHAPE = (28, 28, 1)


@pytest.fixture(scope="module")
def digits():
    """MNIST's first 40 test images."""
    return idx.read(sources.embedded_folder() / "t10k-images-idx3-ubyte.gz", 3)[:40]


def saved(path, array, **options):
    Image.fromarray(np.asarray(array).astype(np.uint8)).save(path, **options)
    return path


def centre(image):
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    return np.array([(image * y).sum(), (image * x).sum()]) / image.sum()


def extent(image):
    return max(int(np.ptp(np.flatnonzero(image.any(axis)))) + 1 for axis in (0, 1))


def test_mnists_own_images_stay_as_they_are(digits, tmp_path):
    """In both polarities, and three times as large."""
    for made in (digits, 255 - digits, np.kron(digits, np.ones((1, 3, 3)))):
        distances = []
        for digit, picture in zip(digits, made, strict=True):
            seen = handwriting.read(saved(tmp_path / "a.png", picture), SHAPE)[..., 0]
            assert seen.dtype == np.uint8
            distances.append(np.abs(seen.astype(int) - digit).mean())
        assert np.median(distances) < 8.0  # 255 is the most; a shift by a pixel is 20 and more
        assert max(distances) < 25.0


def test_another_digit_is_far(digits):
    """So that the test above can fail."""
    assert np.abs(digits[1:].astype(int) - digits[:-1]).mean(axis=(1, 2)).min() > 25.0


@pytest.mark.parametrize("path", sorted(DRAWN.glob("*.*g")), ids=lambda path: path.stem)
def test_twenty_pixels_with_the_centre_of_mass_in_the_middle(path):
    seen = handwriting.read(path, SHAPE)[..., 0].astype(float)
    assert 19 <= extent(seen) <= 20
    assert np.abs(centre(seen) - 14.0).max() <= 0.75
    assert seen.max() == 255.0
    assert 0.03 < (seen > 64).mean() < 0.4, "MNIST's digits cover 5 to 39 %"


def test_uneven_light_leaves_the_digit_alone(tmp_path):
    """A stroke on paper four times as bright at one side, with grain and a shadow's edge."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:300, :240]
    stroke = (np.abs(x - 120) < 9) & (y > 60) & (y < 240)
    light = np.linspace(0.25, 1.0, 240) * np.where(x + y > 330, 0.7, 1.0)
    grain = random.normal(0.0, 0.01, x.shape)
    photo = 255 * np.clip(light * (np.where(stroke, 0.2, 0.9) + grain), 0, 1)
    flat = 255 * np.where(stroke, 0.0, 1.0)
    seen, clean = (
        handwriting.read(saved(tmp_path / "a.png", picture), SHAPE).astype(int)
        for picture in (photo, flat)
    )
    # The stroke is two pixels wide and the middle lies between two: a pixel's shift is rounding.
    shifts = [np.roll(clean, (dy, dx), (0, 1)) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    assert min(np.abs(seen - shifted).mean() for shifted in shifts) < 3.0


def test_specks_and_the_papers_edge_are_no_ink(tmp_path):
    paper = np.full((200, 200), 250)
    paper[60:140, 90:106] = 20
    clean = handwriting.read(saved(tmp_path / "a.png", paper), SHAPE)
    paper[20:24, 20:24] = 20  # dirt
    paper[:, :4] = 20  # the table beside the paper
    assert (handwriting.read(saved(tmp_path / "b.png", paper), SHAPE) == clean).all()


def test_transparent_paper(tmp_path):
    ink = np.zeros((100, 100), np.uint8)
    ink[20:80, 44:56] = 255
    for name, colour in (("dark", 10), ("white", 255)):
        bands = [np.full_like(ink, colour)] * 3
        saved(tmp_path / f"{name}.png", np.stack([*bands, ink], -1))
    dark, white = (handwriting.read(tmp_path / f"{n}.png", SHAPE) for n in ("dark", "white"))
    assert np.abs(dark.astype(int) - white).max() <= 2
    assert extent(dark[..., 0]) == 20


def test_a_turned_photograph_is_seen_upright(tmp_path):
    """EXIF's orientation 6: the camera was turned, and the file's rows are the scene's columns."""
    scene = np.full((120, 90), 255)
    scene[20:30, 20:70] = scene[20:100, 60:70] = 0  # a 7
    upright = handwriting.read(saved(tmp_path / "a.png", scene), SHAPE)
    exif = Image.Exif()
    exif[274] = 6
    turned = saved(tmp_path / "b.png", np.rot90(scene), exif=exif)
    assert (handwriting.read(turned, SHAPE) == upright).all()


@pytest.mark.parametrize("mode", ["P", "RGBA", "I;16"])
def test_a_huge_picture_is_read_in_bounded_memory(tmp_path, mode):
    """A file of some kilobytes may hold 81 million pixels; turned upright as a small one is."""
    shapes = []
    for side in (90, 9000):
        page = Image.new("L", (side, side), 255)
        page.paste(0, (side // 3, side // 5, side // 3 + side // 9, side // 5 + side // 2))
        page.paste(0, (side // 3, side // 5, side // 3 * 2, side // 5 + side // 9))
        if mode == "I;16":
            page = Image.fromarray(np.asarray(page).astype(np.uint16) * 257)
        page = page if mode == "I;16" else page.convert(mode)
        exif = Image.Exif()
        exif[274] = 6
        page.save(tmp_path / f"{side}.png", exif=exif)
        shapes.append(handwriting.read(tmp_path / f"{side}.png", SHAPE).astype(float))
    assert np.abs(shapes[0] - shapes[1]).mean() < 8
    code = (
        "import re, sys; from pathlib import Path; from mnist_dist.use import handwriting\n"
        "handwriting.read(Path(sys.argv[1]), (28, 28, 1))\n"
        "print(re.search(r'VmHWM:\\s+(\\d+) kB', Path('/proc/self/status').read_text())[1])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "9000.png")]
    peak = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert int(peak) < 900 << 10


def test_other_kinds_of_files(tmp_path):
    """Sixteen bits, a palette, colours, and a large photograph: as the plain one."""
    paper = np.full((60, 60), 255)
    paper[10:50, 26:34] = 0
    plain = handwriting.read(saved(tmp_path / "a.png", paper), SHAPE)
    Image.fromarray((paper * 257).astype(np.uint16)).save(tmp_path / "b.png")
    Image.fromarray(paper.astype(np.uint8)).convert("P").save(tmp_path / "c.gif")
    saved(tmp_path / "d.png", np.stack([paper, np.full_like(paper, 255), paper], -1))  # green ink
    saved(tmp_path / "e.jpg", np.kron(paper, np.ones((30, 30))), quality=95)
    for name in ("b.png", "c.gif", "d.png", "e.jpg"):
        seen = handwriting.read(tmp_path / name, SHAPE)
        assert np.abs(seen.astype(int) - plain).mean() < 8.0, name


def test_other_sizes(tmp_path):
    paper = np.full((64, 64), 255)
    paper[10:50, 28:36] = 0
    seen = handwriting.read(saved(tmp_path / "a.png", paper), (56, 42, 1))
    assert seen.shape == (56, 42, 1)
    assert extent(seen[..., 0]) == 30  # 20/28 of the shorter side


def test_what_cannot_be_read(tmp_path):
    def reason(path):
        with pytest.raises(Unreadable) as refused:
            handwriting.read(path, SHAPE)
        return str(refused.value)

    empty = "nothing found: no ink stands out from the paper"
    assert reason(saved(tmp_path / "white.png", np.full((90, 90), 255))) == empty
    grain = np.random.default_rng(0).normal(200, 3, (90, 90))
    assert reason(saved(tmp_path / "grain.png", grain)) == empty
    (tmp_path / "text.png").write_text("not a picture")
    assert reason(tmp_path / "text.png") == "it is no picture that Pillow knows"
    assert "can't be read (No such file or directory)" in reason(tmp_path / "none.png")
    torn = (DRAWN / "3-shadow.jpg").read_bytes()[:900]
    (tmp_path / "torn.jpg").write_bytes(torn)
    assert "can't be read (image file is truncated" in reason(tmp_path / "torn.jpg")
    assert "2x1 pixels, too few" in reason(saved(tmp_path / "dot.png", [[0, 255]]))


def shadows(count):
    """Empty paper by a lamp, with the edge, the corner or the curve of a shadow on it."""
    random = np.random.default_rng(5)
    y, x = np.mgrid[-1:1:300j, -1:1:400j]
    for number in range(count):
        turn, offset, soft = random.uniform(0, 6.28), random.uniform(-0.6, 0.6), 0.02
        along, across = x * np.cos(turn) + y * np.sin(turn), x * np.sin(turn) - y * np.cos(turn)
        edge, other = (np.clip(d / soft + 0.5, 0, 1) for d in (along - offset, across + offset))
        dark = (edge, edge * other, np.clip((np.hypot(x - offset, y - 1) - 0.8) / soft, 0, 1))
        lamp = 0.8 + 0.1 * across - 0.1 * (x * x + y * y)
        light = lamp * (1 - random.uniform(0.3, 0.6) * dark[number % 3])
        yield 255 * np.clip(light + random.normal(0, 0.004, x.shape), 0, 1)


def test_most_shadows_on_empty_paper_are_no_ink(tmp_path):
    found = 0
    for picture in shadows(20):
        try:
            handwriting.read(saved(tmp_path / "a.png", picture), SHAPE)
        except Unreadable as reason:
            found += "nothing found" in str(reason)
    assert found >= 14


def test_a_digit_beside_a_shadow_is_still_ink(tmp_path, digits):
    """Digits at the lit side of an edge: none is taken for a shadow."""
    for digit in digits[:12]:
        large = np.kron(digit / 255.0, np.ones((6, 6)))
        paper = np.full((300, 400), 230.0)
        paper[:, 250:] *= 0.6
        paper[60:228, 40:208] *= 1 - 0.8 * large
        seen = handwriting.read(saved(tmp_path / "a.png", paper), SHAPE)[..., 0]
        assert np.abs(seen.astype(int) - digit).mean() < 25.0  # as above


def test_several_digits(tmp_path, digits):
    """Side by side, and one above the other; single digits in pieces are single."""
    for axis in (0, 1):
        caught = 0
        for one, two in itertools.pairwise(digits[:21]):
            picture = saved(tmp_path / "a.png", 255 - np.concatenate([one, two], axis))
            with contextlib.suppress(Unreadable):
                handwriting.read(picture, SHAPE)
                continue
            caught += 1
        assert caught >= 18  # of 20; some touch
    broken = 255 - digits[0].copy()
    broken[14:16] = 255
    handwriting.read(saved(tmp_path / "a.png", broken), SHAPE)
    three = saved(tmp_path / "a.png", 255 - np.concatenate(list(digits[:3]), 1))
    with pytest.raises(Unreadable, match="several digits; give a picture of each"):
        handwriting.read(three, SHAPE)


def test_few_single_digits_are_taken_for_several():
    images = idx.read(sources.embedded_folder() / "t10k-images-idx3-ubyte.gz", 3)[:3000]
    assert sum(pieces.several_digits(image.astype(float)) for image in images) <= 2


def test_folders_in_the_order_of_their_names(tmp_path):
    """What isn't a picture is named with the reason, but for hidden files."""
    names = ("b.png", "a.JPG", "notes.txt", "c.HEIC", "d.pdf", ".hidden.png", "Thumbs.db")
    for name in names:
        (tmp_path / name).write_text("")
    (tmp_path / "more").mkdir()
    (tmp_path / "dir.png").mkdir()
    found = picture_files.find([str(tmp_path), "single"])
    assert [path.name for path in found.paths] == ["a.JPG", "b.png", "single"]
    within = "a folder in a folder isn't looked into; give it by its name"
    assert found.others == {
        f"{tmp_path}/c.HEIC": ".heic isn't read; convert it to .png or .jpg",
        f"{tmp_path}/d.pdf": ".pdf isn't read; convert it to .png or .jpg",
        **{f"{tmp_path}/{name}": within for name in ("dir.png", "more")},
        f"{tmp_path}/notes.txt": "no picture by its name",
    }
    with pytest.raises(UsageError, match=r"more: no picture in it; give \.png, \.jpg"):
        picture_files.find([str(tmp_path / "more")])
    beside = picture_files.find([str(tmp_path / "more"), "single"])
    assert [path.name for path in beside.paths] == ["single"]
    assert beside.others == {f"{tmp_path}/more": "no picture in it"}
    (tmp_path / "more/a.heic").write_text("")
    with pytest.raises(UsageError, match=r"no picture in it \(\.heic isn't read; convert it"):
        picture_files.find([str(tmp_path / "more")])


def test_a_folder_of_too_many_files(tmp_path, monkeypatch):
    monkeypatch.setattr(picture_files, "MOST_FILES", 3)
    for number in range(4):
        (tmp_path / f"{number}.png").write_text("")
    with pytest.raises(UsageError, match="more than 3 files; give fewer at a time"):
        picture_files.find([str(tmp_path)])


def test_the_libraries_are_asked_for_by_name(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "scipy", None)
    with pytest.raises(UsageError, match=r"scipy, which isn't installed; pip install 'mnist_dist"):
        handwriting.check_installed()
