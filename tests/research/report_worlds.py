"""The world of tests of reports: that of `foveal bench report-kills`."""

from __future__ import annotations

from foveal.bench.report_world import PAGES, QUESTION, Filler, Pages, page

__all__ = ["PAGES", "QUESTION", "Filler", "Pages", "page"]
