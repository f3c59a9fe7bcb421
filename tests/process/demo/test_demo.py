"""The page in a real browser, drawn on; and what its server answers to others."""

import base64
import contextlib
import http.client
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from mnist_dist.demo import server
from tests import warm

DRAWN = Path(__file__).parents[2] / "handwriting"
BROWSER = """
    --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync
    --disable-background-networking --disable-component-update --window-size=900,800
"""
DEADLINE_S = 60
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A network that reads digits, trained by the command itself."""
    folder = tmp_path_factory.mktemp("demo") / "run"
    flags = ("--conv_filters=8,16", "--kernel_size=3", "--dense_units=64", "--dropout=0.2")
    recipe = ("--optimizer=adam", "--lr=0.004", "--schedule=onecycle", "--batch_size=128")
    folder.mkdir()
    (folder / "names.txt").write_text("\n".join(NAMES))
    command = [sys.executable, "-m", "mnist_dist.train", "--no_gpu", *flags, *recipe]
    command.append(f"--class_names={folder}/names.txt")
    done = warm.run([*command, "--epochs=1", f"--run_dir={folder}"], capture_output=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def page(trained):
    """The address of a running demo."""
    command = [sys.executable, "-m", "mnist_dist.demo", str(trained), "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as demo:
        try:
            line = demo.stdout.readline()
            yield re.search(r"http://127\.0\.0\.1:\d+/", line)[0]
            demo.send_signal(signal.SIGINT)
            assert demo.wait(DEADLINE_S) == 0
        finally:
            demo.kill()


@pytest.fixture
def browser(tmp_path, page):
    if not shutil.which("chromedriver"):
        assert "CI" not in os.environ, "apt-get install chromium chromium-driver"
        pytest.skip("chromedriver is missing; apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    for word in (*BROWSER.split(), f"--user-data-dir={tmp_path}/profile"):
        options.add_argument(word)
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    with webdriver.Chrome(options, service) as driver:
        driver.get(page)
        yield driver


def draw(browser, points):
    """One stroke by the mouse; points are shares of the paper, from its top left corner."""
    paper = browser.find_element(By.ID, "paper")
    size = paper.size
    moves = ActionChains(browser, duration=10)
    for number, (x, y) in enumerate(points):
        offset = round((x - 0.5) * size["width"]), round((y - 0.5) * size["height"])
        moves.move_to_element_with_offset(paper, *offset)
        if not number:
            moves.click_and_hold()
    moves.release().perform()


def answer(browser, pattern):
    """The answer's text, once it matches."""
    shown = browser.find_element(By.ID, "answer")
    WebDriverWait(browser, DEADLINE_S).until(lambda _: re.search(pattern, shown.text))
    return shown.text


CIRCLE = [
    (0.5 + 0.22 * math.sin(t), 0.5 - 0.32 * math.cos(t)) for t in np.linspace(0, 2 * math.pi, 25)
]


def test_strokes_are_read_while_one_draws(browser):
    draw(browser, CIRCLE)
    assert answer(browser, r"^zero \(")
    rows = browser.find_elements(By.CLASS_NAME, "bar")
    assert [row.text.split("\n")[0] for row in rows] == list(NAMES)
    shares = [float(row.text.split("\n")[1].removesuffix(" %")) for row in rows]
    assert sum(shares) == pytest.approx(100, abs=1)
    seen = browser.execute_script(
        "const s = document.getElementById('seen');"
        "return [s.width, s.height, ...s.getContext('2d').getImageData(0, 0, 28, 28).data];"
    )
    assert seen[:2] == [28, 28]
    image = np.array(seen[2:]).reshape(28, 28, 4)[..., 0]
    assert image.max() == 255
    assert image[14, 14] < 20 < image.sum() / 255  # a ring: empty in the middle
    draw(browser, [(0.5, 0.1), (0.5, 0.9)])  # a bar through it: no plain 0 any more
    browser.find_element(By.ID, "undo").click()
    assert answer(browser, r"^zero \(")
    browser.find_element(By.ID, "clear").click()
    assert not browser.find_element(By.ID, "answer").text.strip()
    assert not browser.find_elements(By.CLASS_NAME, "bar")
    draw(browser, [(0.5, 0.5)])  # a dot is drawn, too
    answer(browser, r"[a-z]+ \(")
    browser.find_element(By.ID, "clear").click()
    for x in (0.25, 0.75):
        draw(browser, [(x, 0.2), (x, 0.8)])
    answer(browser, r"^several digits: ")
    assert not browser.get_log("browser"), "errors on the page's console"


def test_the_keyboard_draws(browser):
    browser.find_element(By.ID, "paper").click()
    browser.find_element(By.ID, "clear").click()
    keys = ActionChains(browser)
    browser.execute_script("document.getElementById('paper').focus()")
    keys.send_keys(*[Keys.ARROW_UP] * 11, " ", *[Keys.ARROW_DOWN] * 22, " ").perform()
    assert answer(browser, r"^one \(")


def test_a_photo_and_a_phone(browser):
    browser.set_window_size(390, 844)
    wide = browser.execute_script("return document.documentElement.scrollWidth")
    assert wide <= browser.execute_script("return window.innerWidth")
    for name, digit in (("5-pencil.jpg", "five"), ("8-marker.png", "eight")):
        browser.find_element(By.ID, "file").send_keys(str(DRAWN / name))
        answer(browser, rf"^{digit} \(")
    browser.find_element(By.ID, "file").send_keys(__file__)
    answer(browser, "no picture")


def asked(page, method, path, body=b"", **headers):
    host = page.removeprefix("http://").rstrip("/")
    connection = http.client.HTTPConnection(host, timeout=DEADLINE_S)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with contextlib.closing(connection):
        connection.request(method, path, body, {"Host": host, **named})
        reply = connection.getresponse()
        return reply.status, reply.read()


BYTES = {"Content_Type": "application/octet-stream"}


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status"),
    [
        ("GET", "/", b"", {"Host": "evil.example"}, 403),
        ("GET", "/", b"", {"Origin": "http://evil.example"}, 403),
        ("POST", "/drawing", b"\xff" * 100, {**BYTES, "Origin": "http://evil.example"}, 403),
        ("POST", "/drawing", b"\xff" * 100, {"Content_Type": "text/plain"}, 415),
        ("POST", "/drawing", b"\xff" * 101, BYTES, 422),
        ("POST", "/drawing", b"\0" * 100, BYTES, 422),
        ("POST", "/drawing", b"", BYTES, 413),
        ("POST", "/photo", b"no picture", BYTES, 422),
        ("POST", "/photo", b"", {**BYTES, "Content_Length": "9" * 5000}, 413),
        ("POST", "/elsewhere", b"x", BYTES, 404),
        ("GET", "/../../etc/passwd", b"", {}, 404),
        ("OPTIONS", "/drawing", b"", {"Origin": "http://evil.example"}, 501),
    ],
)
def test_what_is_refused(page, method, path, body, headers, status):
    assert asked(page, method, path, body, **headers)[0] == status
    assert asked(page, "GET", "/")[0] == 200


def test_the_network_is_the_runs_own(page, trained):
    """The page's probabilities are those that `load` gives for the pixels that it shows."""
    import mnist_dist

    status, body = asked(page, "POST", "/photo", (DRAWN / "3-shadow.jpg").read_bytes(), **BYTES)
    assert status == 200
    found = json.loads(body)
    pixels = np.frombuffer(base64.b64decode(found["pixels"]), np.uint8).reshape(28, 28)
    model = mnist_dist.load(trained)
    assert model.predict(pixels).probabilities[0] == pytest.approx(found["probabilities"], abs=1e-6)


def test_many_at_once_get_their_own_answers(page):
    """Two kinds of drawing from many threads: no answer is another's."""
    square = np.zeros((40, 40), np.uint8)
    bar, box = square.copy(), square.copy()
    bar[5:35, 18:22] = 255
    box[5:35, 10:30] = 255
    box[9:31, 14:26] = 0
    drawings = [bar.tobytes(), box.tobytes()] * 8
    answers = [b""] * len(drawings)

    def ask(number):
        answers[number] = asked(page, "POST", "/drawing", drawings[number], **BYTES)[1]

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(len(drawings))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert len(set(answers[0::2])) == len(set(answers[1::2])) == 1
    assert answers[0] != answers[1]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--port=99999",), "from 0 to 65535"),
        (("--host=nowhere",), "IPv4 address of this machine"),
        (("--host=203.0.113.7",), "can't listen there"),
    ],
)
def test_wrong_flags(trained, flags, words):
    command = [sys.executable, "-m", "mnist_dist.demo", str(trained), *flags]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_taken_port(trained):
    with server.listening("127.0.0.1", 0) as taken:
        port = re.search(r":(\d+)/", taken.url)[1]
        command = [sys.executable, "-m", "mnist_dist.demo", str(trained), f"--port={port}"]
        done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "another --port" in done.stderr
