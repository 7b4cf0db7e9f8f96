"""The style of pages, as a browser lays it out on a phone."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lesion.pages import style

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NAMES = ("melanoma", "seborrheic_keratosis", "auc_seborrheic_keratosis", "balanced_accuracy", "validation")
COUNT = """
const phone = document.querySelector("iframe");
phone.onload = () => {
  const cells = [...phone.contentDocument.querySelectorAll("td:first-child")];
  const lines = cells.map(cell => {
    const range = document.createRange();
    range.selectNodeContents(cell);
    return new Set([...range.getClientRects()].map(each => each.top)).size;
  });
  document.title = "lines " + lines.join(" ");
};
"""
"""Writes into the title how many lines the text of each first cell takes."""


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")
@pytest.mark.parametrize("kind", ["", "prose"])
def test_names_in_a_table_s_first_column_are_whole_on_a_phone(tmp_path: Path, kind: str) -> None:
    cells = "<td>0.912 (0.851–0.944)</td>" * 4
    rows = "".join(f"<tr><td>{name}</td>{cells}</tr>" for name in NAMES)
    table = f'<main><div class="{kind}"><div class="wide"><table>{rows}</table></div></div></main>'
    inner = html.escape(f"<style>{style()}</style>{table}")
    page = tmp_path / "page.html"
    frame = '<iframe width="390" height="800"></iframe>'
    page.write_text(
        f'<!doctype html><meta charset="utf-8">{frame}<script>{COUNT}\n'
        f'const held = document.createElement("textarea"); held.innerHTML = `{inner}`; phone.srcdoc = held.value;'
        "</script>"
    )
    words = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    words += ["--virtual-time-budget=5000", "--dump-dom", page.as_uri()]
    told = subprocess.run(words, capture_output=True, text=True, check=True, timeout=100).stdout
    found = re.search(r"<title>lines ([\d ]+)</title>", told)
    assert found is not None, told[:500]
    assert dict(zip(NAMES, map(int, found[1].split()), strict=True)) == dict.fromkeys(NAMES, 1)
