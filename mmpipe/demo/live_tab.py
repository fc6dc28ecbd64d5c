"""The tab for live translation: its markup. What it does is in ``static/live.js``."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from mmpipe.demo.models import DemoModels

STATIC = Path(__file__).parent / "static"


def build(models: DemoModels) -> None:
    text = (STATIC / "live.html").read_text("utf-8")
    gr.HTML(text, elem_id="live", apply_default_css=False, js_on_load=mounted("live.js"))


def mounted(module: str) -> str:
    """JavaScript that gives the element of a ``gr.HTML`` to ``module``, a file of ``static/``: its ``mount`` gets the
    element, where the page lies, and what Gradio gives to the script of a component."""
    return f"""
        const root = new URL(window.gradio_config?.root ?? ".", location.href).pathname.replace(/\\/?$/, "/");
        import(`${{root}}demo/static/{module}`)
            .then(({{mount}}) => mount(element, new URL(root, location.href), {{props, watch, trigger, upload}}));
    """
