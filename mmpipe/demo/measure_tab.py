"""The tab that measures: where the time of the last session went, what the engines do, what is loaded.

Its markup; what fills it is in ``static/measure.js``, from the session in this browser and from ``/demo/figures``.
"""

from __future__ import annotations

import gradio as gr

from mmpipe.demo.live_tab import STATIC, mounted
from mmpipe.demo.models import DemoModels


def build(models: DemoModels) -> None:
    text = (STATIC / "measure.html").read_text("utf-8")
    gr.HTML(text, elem_id="measure", apply_default_css=False, js_on_load=mounted("measure.js"))
