"""The page: its head, its tabs. Each tab is a module of its own."""

from __future__ import annotations

import gradio as gr

from mmpipe.demo import live_tab, measure_tab, pictures_tab, recording_tab
from mmpipe.demo.live_tab import STATIC, mounted
from mmpipe.demo.models import DemoModels

#: (title, module), in the order of the page
TABS = (
    ("Live", live_tab),
    ("Recordings", recording_tab),
    ("Pictures", pictures_tab),
    ("Measure", measure_tab),
)


def build_page(models: DemoModels) -> gr.Blocks:
    """All tabs over ``models``."""
    page: gr.Blocks
    with gr.Blocks(title="mmpipe", analytics_enabled=False, delete_cache=(3600, 6 * 3600)) as page:
        head = (STATIC / "head.html").read_text("utf-8")
        gr.HTML(head, elem_id="head", apply_default_css=False, js_on_load=mounted("status.js"))
        with gr.Tabs(overflow_behavior="wrap"):
            for title, module in TABS:
                with gr.Tab(title, id=module.__name__.rpartition(".")[2].removesuffix("_tab")):
                    module.build(models)
    return page
