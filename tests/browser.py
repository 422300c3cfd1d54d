"""Pages as a browser lays them out."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest


def measured_in_a_browser(html: str, probe: str, width: int, folder: Path) -> dict[str, object]:
    """What ``probe``, the body of a JavaScript function, returns in the page in a frame of ``width`` pixels.

    It is a frame because a window of Chromium's has at least 500 pixels.
    """
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None and not os.environ.get("CI"):
        pytest.skip("there is no Chromium: install Debian's package chromium")
    assert browser is not None, "CI has to install Chromium: see .ci/run"
    call = f'parent.postMessage(JSON.stringify((() => {{{probe}}})()), "*")'
    script = f'<script>addEventListener("load", () => {{ {call} }})</script>'
    (folder / "page.html").write_text(html.replace("</body>", f"{script}</body>"), encoding="utf-8")
    frame = f'<iframe src="page.html" style="border:0;width:{width}px;height:2000px"></iframe>'
    listen = '<script>addEventListener("message", (event) => { document.title = event.data; })</script>'
    (folder / "frame.html").write_text(f"<title></title>{listen}{frame}", encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    command = [browser, *options, "--virtual-time-budget=5000", "--dump-dom", (folder / "frame.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    title = re.search(r"<title>(\{.*?\})</title>", done.stdout)
    assert title is not None, done.stdout[:500] + done.stderr[-500:]
    found: dict[str, object] = json.loads(title[1])
    return found
