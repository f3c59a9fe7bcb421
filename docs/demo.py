"""Draws docs/demo.png: the page of `python -m mnist_dist.demo`, with a digit drawn by the mouse.

python docs/demo.py RUN_DIR; needs Debian's chromium and chromium-driver, and selenium.
"""

import re
import subprocess
import sys
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

THREE = [
    (0.33, 0.24), (0.42, 0.17), (0.55, 0.16), (0.64, 0.22), (0.65, 0.33), (0.58, 0.42),
    (0.46, 0.47), (0.58, 0.50), (0.67, 0.58), (0.68, 0.70), (0.60, 0.80), (0.47, 0.83),
    (0.35, 0.77),
]  # fmt: skip


def main() -> None:
    """Writes the picture."""
    options = webdriver.ChromeOptions()
    for word in ("--headless", "--no-sandbox", "--window-size=820,760"):
        options.add_argument(word)
    command = [sys.executable, "-m", "mnist_dist.demo", sys.argv[1], "--port=0"]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as demo,
        webdriver.Chrome(options, webdriver.ChromeService("/usr/bin/chromedriver")) as browser,
    ):
        browser.get(re.search(r"http://\S+", demo.stdout.readline())[0])
        paper = browser.find_element(By.ID, "paper")
        moves = ActionChains(browser, duration=10)
        for number, (x, y) in enumerate(THREE):
            offset = [round((share - 0.5) * paper.size["width"]) for share in (x, y)]
            moves.move_to_element_with_offset(paper, *offset)
            if not number:
                moves.click_and_hold()
        moves.release().perform()
        shown = browser.find_element(By.ID, "answer")
        WebDriverWait(browser, 30).until(lambda _: shown.text.startswith("3"))
        browser.save_screenshot(str(Path(__file__).with_name("demo.png")))
        demo.terminate()


if __name__ == "__main__":
    main()
