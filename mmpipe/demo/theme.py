"""Colours, type and space of the page. Fonts are the visitor's own: none is loaded."""

from __future__ import annotations

from gradio.themes import Base
from gradio.themes.utils import colors, sizes

SANS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "Liberation Sans", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "Liberation Mono", "monospace")


def theme() -> Base:
    """Quiet surfaces, one accent. Every pair of text and ground has a contrast of 4.5 or more."""
    return Base(
        primary_hue=colors.teal,
        secondary_hue=colors.teal,
        neutral_hue=colors.slate,
        radius_size=sizes.radius_md,
        spacing_size=sizes.spacing_md,
        text_size=sizes.text_md,
        font=SANS,
        font_mono=MONO,
    ).set(
        body_background_fill="#f7f8fa",
        body_background_fill_dark="#0d1117",
        body_text_color="#16202c",
        body_text_color_dark="#e6ebf1",
        body_text_color_subdued="#526070",
        body_text_color_subdued_dark="#9aa7b6",
        background_fill_primary="#ffffff",
        background_fill_primary_dark="#141b24",
        background_fill_secondary="#f1f4f7",
        background_fill_secondary_dark="#1a222d",
        block_background_fill="#ffffff",
        block_background_fill_dark="#141b24",
        block_border_color="#dde3ea",
        block_border_color_dark="#2a3542",
        border_color_primary="#cfd7e0",
        border_color_primary_dark="#36424f",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        block_label_border_width="0px",
        block_label_text_color="#526070",
        block_label_text_color_dark="#9aa7b6",
        block_title_text_color="#16202c",
        block_title_text_color_dark="#e6ebf1",
        block_title_text_weight="600",
        block_info_text_color="#526070",
        block_info_text_color_dark="#9aa7b6",
        block_shadow="none",
        input_background_fill="#ffffff",
        input_background_fill_dark="#0f161e",
        input_placeholder_color="#5f6d7d",
        input_placeholder_color_dark="#8f9cab",
        button_primary_background_fill="#0f766e",
        button_primary_background_fill_hover="#115e59",
        button_primary_background_fill_dark="#14b8a6",
        button_primary_background_fill_hover_dark="#2dd4bf",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="#04231f",
        button_secondary_background_fill="#eef2f5",
        button_secondary_background_fill_hover="#e2e8ee",
        button_secondary_background_fill_dark="#222c38",
        button_secondary_background_fill_hover_dark="#2c3846",
        button_secondary_text_color="#16202c",
        button_secondary_text_color_dark="#e6ebf1",
        link_text_color="#0f766e",
        link_text_color_dark="#5eead4",
        color_accent="#0f766e",
        color_accent_soft="#ccfbf1",
        color_accent_soft_dark="#123d39",
    )
