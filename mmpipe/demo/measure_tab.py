"""The tab that measures: where the time of the last session went, what the engines do, what is loaded."""

from __future__ import annotations

import gradio as gr

from mmpipe.demo.models import DemoModels


def build(models: DemoModels) -> None:
    gr.Markdown("### What is loaded")
