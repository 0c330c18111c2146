"""The look that all pages share: Gradio theme and global CSS.

System fonts only, so that no page asks another server for anything. Components bring their own CSS and use
nothing but these theme variables, which makes dark mode come by itself.
"""

from pathlib import Path

import gradio as gr

STATIC = Path(__file__).parent / "static"
FAVICON = STATIC / "favicon.svg"
CSS = (STATIC / "theme.css").read_text(encoding="utf-8")
SYSTEM_FONTS = ["Inter", "ui-sans-serif", "system-ui", "sans-serif"]
MONO_FONTS = ["JetBrains Mono", "ui-monospace", "monospace"]


def theme() -> gr.themes.Base:
    """Indigo on slate, with each colour's dark twin."""
    base = gr.themes.Base(
        primary_hue="indigo",
        neutral_hue="slate",
        radius_size="lg",
        spacing_size="md",
        font=SYSTEM_FONTS,
        font_mono=MONO_FONTS,
    )
    return base.set(
        body_background_fill="#f6f7fb",
        body_background_fill_dark="#0b0f1a",
        block_background_fill="#ffffff",
        block_background_fill_dark="#121829",
        border_color_primary="#e3e6ef",
        border_color_primary_dark="#26304a",
        body_text_color="#111827",
        body_text_color_dark="#e7ebf5",
        body_text_color_subdued="#5b6478",
        body_text_color_subdued_dark="#94a0bb",
        color_accent="#4f46e5",
        block_shadow="none",
        shadow_drop="0 1px 2px #0f172a0d",
        button_primary_background_fill="#4f46e5",
        button_primary_background_fill_hover="#4338ca",
        button_primary_background_fill_dark="#5b5ff0",
        button_primary_background_fill_hover_dark="#4f46e5",
        button_primary_text_color="#ffffff",
        block_border_width="1px",
        block_label_text_size="*text_xs",
        layout_gap="14px",
    )
