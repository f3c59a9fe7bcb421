"""Draws docs/report.png and docs/tensorboard.png, of six short runs that it trains.

python docs/screenshots.py; needs Debian's chromium and chromium-driver, selenium, tensorboard and
matplotlib. It takes some minutes on two cores.
"""

import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

DOCS = Path(__file__).parent
RATES = (0.1, 0.05, 0.02)
NETWORK = ("--no_gpu", "--conv_filters=4,8", "--dense_units=32", "--epochs=2")


def main() -> None:
    """Trains the runs and writes both pictures."""
    with tempfile.TemporaryDirectory() as folder:
        for rate in RATES:
            for seed in (0, 1):
                flags = [*NETWORK, f"--lr={rate}", f"--seed={seed}"]
                run("train", *flags, f"--run_dir={folder}/lr{rate}-seed{seed}")
        run("report", folder, f"--output={folder}/report.html")
        with browser(1240, 1180) as chromium:
            chromium.get(f"file://{folder}/report.html")
            chromium.save_screenshot(str(DOCS / "report.png"))
        port = free_port()
        command = [sys.executable, "-m", "tensorboard.main", f"--port={port}"]
        two = f"--logdir_spec=lr0.1:{folder}/lr0.1-seed0,lr0.02:{folder}/lr0.02-seed0"
        with subprocess.Popen([*command, two]) as tensorboard, browser(1180, 1100) as chromium:
            wait_for_port(port)
            chromium.get(f"http://127.0.0.1:{port}/#timeseries")
            cards = (By.TAG_NAME, "scalar-card")
            WebDriverWait(chromium, 60).until(lambda page: page.find_elements(*cards))
            time.sleep(5)  # TensorBoard has no sign of having drawn everything
            chromium.save_screenshot(str(DOCS / "tensorboard.png"))
            tensorboard.terminate()


def run(command: str, *arguments: str) -> None:
    """Runs a command of the package."""
    subprocess.run([sys.executable, "-m", f"mnist_dist.{command}", *arguments], check=True)


def browser(width: int, height: int) -> webdriver.Chrome:
    """A headless Chromium of a size in pixels."""
    options = webdriver.ChromeOptions()
    for word in ("--headless", "--no-sandbox", f"--window-size={width},{height}"):
        options.add_argument(word)
    return webdriver.Chrome(options, webdriver.ChromeService("/usr/bin/chromedriver"))


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_for_port(port: int, timeout_s: float = 60.0) -> None:
    """Returns when something listens on the port; raises TimeoutError after `timeout_s`."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        with socket.socket() as client:
            if not client.connect_ex(("127.0.0.1", port)):
                return
        time.sleep(0.2)
    raise TimeoutError(f"nothing listens on port {port}")


if __name__ == "__main__":
    main()
