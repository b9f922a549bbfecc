"""Figures as PNG, drawn by a browser of this machine: the same code draws them as in the page."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from optuna_tuner.results.report.document import Plot
from optuna_tuner.results.report.html import as_script_data, own_file, plotly_js

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
QUIET = (
    "--headless",
    "--no-sandbox",  # our own page alone, which loads nothing; as root, and in containers, there is no sandbox
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=60000",  # of the page's clock: it ends when nothing is left to do
    "--dump-dom",
)
PATIENCE_S = 180.0
DRAWN = re.compile(r"<pre>([\w.-]+) data:image/png;base64,([A-Za-z0-9+/=]+)</pre>")


def browser() -> str | None:
    """A browser that can draw; None where there is none."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def drawn(plots: Sequence[Plot], program: str) -> Mapping[str, bytes]:
    """The PNG of each figure by its id, without those that the browser did not draw; none where it did not run."""
    with TemporaryDirectory(prefix="optuna-tuner-plots-", ignore_cleanup_errors=True) as folder:
        page = Path(folder, "page.html")
        page.write_text(_page(plots), encoding="utf-8")
        try:
            ran = subprocess.run(  # noqa: S603  a browser of this machine on a page of ours
                [program, *QUIET, f"--user-data-dir={folder}/profile", page.as_uri()],
                capture_output=True,
                timeout=PATIENCE_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return {}
    found = DRAWN.findall(ran.stdout.decode("utf-8", "replace"))
    return {name: base64.b64decode(data) for name, data in found}


def _page(plots: Sequence[Plot]) -> str:
    data = as_script_data({plot.id: dict(plot.plotly) for plot in plots})
    return (
        f'<!doctype html><meta charset="utf-8"><body><script type="application/json" id="plots">{data}</script>'
        f"<script>{plotly_js()}</script><script>{own_file('draw.js')}</script></body>"
    )
