"""A picture of one section of a study's report, for docs/gallery.md.

    python benchmarks/gallery.py docs/pictures/gallery-bench.png demo-bench [--section load] [--look dark]

The study is found as by every command (OPTUNA_TUNER_HOME, OPTUNA_TUNER_STORAGE), in any state. Sections are the ids of
report.html: summary, flags, load, bottleneck, pareto, search, failures, noise. Needs playwright and Debian's chromium.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Literal

from playwright.sync_api import Page, sync_playwright

from optuna_tuner import Tuner
from optuna_tuner.results.report.files import Form, rendered

CHROMIUM = "/usr/bin/chromium"
WIDTH_PX = 900
MOST_BYTES = 150 * 1024  # of a picture in docs/
PATIENCE_MS = 300_000


def drawn(page: Page, file: Path) -> None:
    """Open a report, and wait until its last figure is drawn."""
    page.set_default_timeout(PATIENCE_MS)
    page.goto(file.as_uri())
    if page.locator(".plot").count():
        page.locator(".plot").last.locator(".main-svg").first.wait_for()


def main() -> None:
    """Write the picture, and say how large it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("study")
    parser.add_argument("--section", default="summary")
    parser.add_argument("--look", choices=("light", "dark", "print"), default="light")
    wanted = parser.parse_args()
    html = rendered(Tuner().report(wanted.study), Form.HTML)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        file = Path(folder) / "report.html"
        file.write_text(html, encoding="utf-8")
        args = ["--no-sandbox", "--disable-gpu", "--disable-lcd-text"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=args, timeout=PATIENCE_MS)
        scheme: Literal["light", "dark"] = "dark" if wanted.look == "dark" else "light"
        page = browser.new_page(color_scheme=scheme, viewport={"width": WIDTH_PX, "height": 1200})
        drawn(page, file)
        page.emulate_media(media="print" if wanted.look == "print" else "screen")
        page.locator(f"#{wanted.section}").screenshot(path=wanted.picture)
        browser.close()
    size = wanted.picture.stat().st_size
    print(f"{wanted.picture}: {size / 1024:.0f} KiB")
    if size > MOST_BYTES:
        sys.exit(f"that is more than {MOST_BYTES // 1024} KiB: take a smaller section")


if __name__ == "__main__":
    main()
