import re

import nh3
import pytest

from tests.work import calls_of
from ui import markup

MOST_CALLS = 1_500_000  # about half a second
HOSTILE = [
    '<img src=x onerror="alert(1)">',
    "<script>alert(1)</script>",
    '<svg onload="alert(1)">',
    '<iframe srcdoc="<script>alert(1)</script>">',
    "[a](javascript:alert(1))",
    "[a](data:text/html;base64,PHNjcmlwdD4=)",
    "<a href='vbscript:x'>a</a>",
    "![x](http://evil.example/pixel.png)",
    "<form action=https://evil.example><input name=password>",
    "<style>*{display:none}</style>",
    '```"><img src=x onerror=alert(1)>\ncode\n```',
    "$<img src=x onerror=alert(1)>$",
    r"\(<script>alert(1)</script>\)",
    "${Object.assign(window,{hit:1})}",
    "{{constructor.constructor('alert(1)')()}}",
    '[a](http://x.example "onmouseover=alert(1)")',
    "`<img src=x onerror=alert(1)>`",
    "|a|\n|-|\n|<img src=x onerror=alert(1)>|",
]
ATTRIBUTES = {**markup.ATTRIBUTES, "a": {"href", "title", "target", "rel"}}
LONG = {
    "brackets": "[" * 5900,
    "open links": "[a](" * 1900,
    "stars": "*a " * 5900,
    "strong": "**a" * 2900,
    "backticks": "".join("`" * (i % 70 + 1) + " " for i in range(160)),
    "dollars": "$a " * 5900,
    "bracket math": r"\[" * 2900,
    "blocks of bracket math": "\\[\n" * 2900,
    "quotes": ">" * 500 + " deep",
    "lists": "- " * 500 + "x",
    "one line": "x" * 20_000,
    "huge": "word " * 50_000,
    "html code": "```html\n" + "<a " * 3900 + "\n```",
    "json code": "```json\n" + '{"a":' * 1900 + "\n```",
}


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_leaves_only_tags_and_attributes_of_ours(text):
    html = markup.to_html(text)
    assert html == nh3.clean(html, tags=markup.TAGS, attributes=ATTRIBUTES, link_rel=None)
    assert not re.search(r"<[^>]*(\son\w+\s*=|javascript:|vbscript:|data:)", html, re.IGNORECASE)
    assert not re.search(r"<(img|script|svg|iframe|form|input|style)", html, re.IGNORECASE)


@pytest.mark.parametrize("name", LONG)
def test_long_and_tangled_texts_take_a_bounded_amount_of_work(name):
    markup.to_html.cache_clear()
    assert calls_of(lambda: markup.to_html(LONG[name])) < MOST_CALLS
    assert len(markup.to_html(LONG[name])) > 10


@pytest.mark.parametrize("name", ["quotes", "lists", "one line", "huge"])
def test_long_texts_are_shown_whole(name):
    shown = nh3.clean(markup.to_html(LONG[name]), tags=set())
    wanted = re.sub(r"\W", "", LONG[name])
    assert re.sub(r"\W|gt", "", shown) == wanted


def test_link_reference_lines_do_not_vanish():
    assert "see: http" in nh3.clean(markup.to_html("[see]: http://x.example"), tags=set()).replace("]", "")


def test_markdown_and_code_become_markup():
    html = markup.to_html("**bold**\n\n```python\nx = 1\n```\n\n| a |\n|---|\n| 1 |")
    assert "<strong>bold</strong>" in html
    assert '<span class="n">x</span>' in html
    assert "<td>1</td>" in html


@pytest.mark.parametrize("text", ["$a^2$", r"\(a^2\)"])
def test_formulas_become_escaped_placeholders(text):
    assert '<span class="tex">a^2</span>' in markup.to_html(f"so {text} holds")


def test_a_formula_over_several_lines_is_one_formula():
    html = markup.to_html("before\n\\[\na = 1\n- b\n\\]\nafter")
    assert '<span class="tex tex-display">a = 1\n- b</span>' in html
    assert "<li>" not in html


def test_prices_and_code_are_no_formulas():
    html = markup.to_html("from $5 to $6, and `\\(x\\)`")
    assert "tex" not in html
    assert "<code>\\(x\\)</code>" in html


def test_links_leave_the_page_carefully():
    html = markup.to_html("[a](https://x.example)")
    assert 'target="_blank"' in html
    assert 'rel="noopener noreferrer nofollow ugc"' in html


def test_a_text_cannot_use_the_classes_of_the_page():
    assert "class" not in markup.to_html("```tile card submit\nx\n```")


def test_single_line_breaks_are_kept():
    assert "<br" in markup.to_html("Dear Sam,\nthanks")


def test_a_snippet_is_short_plain_text():
    assert markup.snippet("# Hello **world**\n\n- $x$") == "Hello world - x"
    assert len(markup.snippet("word " * 99)) <= 60
    assert markup.snippet(">>>") == ">>>"
