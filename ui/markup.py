"""Turns untrusted text (prompts, completions, guidelines) into safe HTML: Markdown, code and TeX.

markdown-it without raw HTML and without images, Pygments for code, then an nh3 allow-list: whatever the text
holds, only the tags and classes named here leave this module. TeX leaves as escaped text in `span.tex`, which
the page hands to KaTeX. Text that is too long, too deep or too tangled for Markdown is shown as plain text,
whole: nothing is cut. It does not fetch anything and does not know about pages.
"""

import html
import re
from functools import lru_cache

import nh3
from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from mdit_py_plugins.dollarmath import dollarmath_plugin
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name

MAX_MARKDOWN = 40_000  # characters; longer texts are shown plain
MAX_MARKS = 6_000  # characters of Markdown's own; beyond, parsing could take seconds
MAX_NESTING = 40  # quotes and lists inside each other
MAX_CODE = 12_000  # characters of one code block that are coloured
MAX_TEX = 4_000  # characters of one formula
LANGUAGES = frozenset(
    [
        "bash",
        "c",
        "c++",
        "cpp",
        "csharp",
        "c#",
        "css",
        "diff",
        "docker",
        "dockerfile",
        "go",
        "haskell",
        "html",
        "ini",
        "java",
        "javascript",
        "js",
        "json",
        "jsx",
        "kotlin",
        "latex",
        "lua",
        "makefile",
        "markdown",
        "md",
        "matlab",
        "perl",
        "php",
        "powershell",
        "python",
        "py",
        "python3",
        "pycon",
        "r",
        "ruby",
        "rb",
        "rust",
        "rs",
        "scala",
        "sh",
        "shell",
        "sql",
        "swift",
        "tex",
        "toml",
        "ts",
        "tsx",
        "typescript",
        "xml",
        "yaml",
        "yml",
        "zsh",
    ]
)
TAGS = set(
    [
        "p",
        "br",
        "hr",
        "strong",
        "em",
        "s",
        "code",
        "pre",
        "blockquote",
        "ul",
        "ol",
        "li",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "a",
        "span",
        "div",
    ]
)
ATTRIBUTES = {
    "a": {"href", "title", "target"},
    "span": {"class"},
    "div": {"class"},
    "pre": {"class"},
    "ol": {"start"},
    "th": {"align"},
    "td": {"align"},
}
CLASS = re.compile(r"tex|tex tex-display|plain|math block|[a-z][a-z0-9]{0,2}")  # ours, and Pygments' short ones
MARKS = re.compile(r"[\[\]()*_`$<>!~|\\]")
SOFT_MARKS = re.compile(r"[*_`#>$|~\\\[\]()]+")
FORMATTER = HtmlFormatter(nowrap=True)


@lru_cache(1024)
def to_html(text: str) -> str:
    """The text as safe HTML. Takes milliseconds for ordinary texts and stays under a second for hostile ones."""
    if len(text) > MAX_MARKDOWN or len(MARKS.findall(text)) > MAX_MARKS:
        return plain(text)
    tokens = MARKDOWN.parse(text)
    if any(token.level >= MAX_NESTING - 2 for token in tokens):
        return plain(text)
    return clean(MARKDOWN.renderer.render(tokens, MARKDOWN.options, {}))


def plain(text: str) -> str:
    """The text as it is, with its line breaks."""
    return f'<div class="plain">{html.escape(text)}</div>'


def clean(markup: str) -> str:
    """The markup reduced to the tags, attributes and classes allowed here."""
    return nh3.clean(
        markup,
        tags=TAGS,
        attributes=ATTRIBUTES,
        attribute_filter=keep_attribute,
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow ugc",
        set_tag_attribute_values={"a": {"target": "_blank"}},
        strip_comments=True,
    )


def keep_attribute(tag: str, name: str, value: str) -> str | None:
    """A class leaves only if it is one of ours; a text cannot dress up as a part of the page."""
    if name == "class":
        return value if CLASS.fullmatch(value) else None
    return value


def snippet(text: str, limit: int = 60) -> str:
    """The first words of a text without its marks, for a one-line label. Plain text, not HTML."""
    start = text[: limit * 8]
    words = " ".join(SOFT_MARKS.sub(" ", start).split()) or start.strip()
    return words if len(words) <= limit else words[: limit - 1] + "…"


def tex(source: str, display: bool) -> str:
    """A formula as the placeholder that the page renders; one that is too long stays as code."""
    if len(source) > MAX_TEX:
        return f"<code>{html.escape(source)}</code>"
    return f'<span class="tex{" tex-display" if display else ""}">{html.escape(source)}</span>'


def coloured(source: str, language: str, _attributes: str) -> str:
    """A code block's inside with Pygments' spans, or "" to leave it plain."""
    if language.lower() not in LANGUAGES or len(source) > MAX_CODE:
        return ""
    return highlight(source, get_lexer_by_name(language.lower()), FORMATTER)


def bracket_math_inline(state: StateInline, silent: bool) -> bool:
    r"""The rule for \( … \) and \[ … \] inside a paragraph."""
    opening = state.src[state.pos : state.pos + 2]
    if opening not in (r"\(", r"\["):
        return False
    closing = r"\)" if opening == r"\(" else r"\]"
    if state.env.get("without " + closing, -1) == len(state.src):  # searched before, from further left: none
        return False
    end = state.src.find(closing, state.pos + 2, state.posMax)
    if end < 0:
        state.env["without " + closing] = len(state.src)
        return False
    if not silent:
        token = state.push("bracket_math", "", 0)
        token.content, token.meta = state.src[state.pos + 2 : end].strip(), {"display": opening == r"\["}
    state.pos = end + 2
    return True


def bracket_math_block(state: StateBlock, start: int, last: int, silent: bool) -> bool:
    r"""The rule for a formula of several lines between \[ and \], so that its lines are no lists or headings."""
    begin = state.bMarks[start] + state.tShift[start]
    if not state.src.startswith(r"\[", begin) or state.is_code_block(start):
        return False
    for line in range(start, min(last, start + 60)):
        ending = state.src[state.bMarks[line] : state.eMarks[line]].rstrip()
        if ending.endswith(r"\]"):
            break
    else:
        return False
    if silent:
        return True
    source = state.getLines(start, line + 1, state.blkIndent, False).strip()[2:-2].strip()
    state.line = line + 1
    token = state.push("bracket_math_block", "", 0)
    token.content, token.map, token.meta = source, [start, line + 1], {"display": True}
    return True


def markdown() -> MarkdownIt:
    """The parser: CommonMark, tables, strikethrough, line breaks kept, math in $ and in brackets."""
    options = {"html": False, "linkify": False, "breaks": True, "highlight": coloured, "maxNesting": MAX_NESTING}
    parser = MarkdownIt("commonmark", options).enable(["table", "strikethrough"])
    parser.disable(["image", "reference"])  # no fetches from the reader's browser; no lines that vanish
    dollars = {"allow_space": False, "allow_digits": False, "double_inline": True}
    parser.use(dollarmath_plugin, **dollars, renderer=lambda s, o: tex(s, bool(o.get("display_mode"))))
    parser.inline.ruler.before("escape", "bracket_math", bracket_math_inline)
    parser.block.ruler.before("list", "bracket_math_block", bracket_math_block, {"alt": ["paragraph"]})
    parser.add_render_rule("bracket_math", lambda _self, t, i, _o, _e: tex(t[i].content, t[i].meta["display"]))
    parser.add_render_rule("bracket_math_block", lambda _self, t, i, _o, _e: f"<p>{tex(t[i].content, True)}</p>")
    return parser


MARKDOWN = markdown()
