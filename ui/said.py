"""What a form says after a click: it worked, or why not. Escaped markup, no gradio."""

from ui.charts import escape, wrap


def error(words: object) -> str:
    """Why nothing was done."""
    return wrap(f'<div class="error" role="alert">{escape(words)}</div>')


def okay(words: str) -> str:
    """That it was done."""
    return wrap(f'<div class="okay" role="status">{escape(words)}</div>')
