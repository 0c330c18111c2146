"""Hostile texts made from families, for whatever shows or stores what others wrote. No tests.

TEXTS are whole Unicode texts that an import must take and a page must show without harm; NAMES are for models, tags,
people and campaigns.
"""

import itertools

from tests.ui.hostile_markup import HANDLERS, HIT, LINKS, MARKDOWN, TAGS, TEMPLATES, TEX

NESTING = [
    ">" * 10_000 + " quotes",
    "> " * 10_000 + "quotes apart",
    "- " * 10_000 + "lists",
    "[" * 10_000,
    "]" * 10_000,
    "(" * 10_000 + ")" * 10_000,
    "[a](" * 10_000,
    "![" * 5_000,
    "{" * 10_000,
    "*" * 10_000,
    "_" * 10_000,
    "*a_b" * 3_000,
    "`" * 10_000,
    "<" * 10_000,
    "<div>" * 5_000,
    "<b><i>" * 3_000,
    "&" * 10_000,
    "\\(" * 5_000,
    "$" * 10_001,
    "".join("#" * (n % 7 + 1) + " h\n" for n in range(500)),
    "\n".join(" " * n + "- x" for n in range(200)),
    "\n".join(">" * n + " x" for n in range(60)),
]
LONG = [
    "x" * 1_000_000,
    "word " * 200_000,
    "\n" * 20_000 + "end",
    " " * 50_000 + "end",
    "\t" * 20_000 + "end",
    "字" * 50_000,
    "🙂" * 30_000,
    "a\u0301" * 20_000,
    "x\u200b" * 20_000,
    "-" * 39_000,
    "https://evil.example/" + "a" * 30_000,
    ("line " * 20 + "\n") * 2_000,
]
UNICODE = [
    "zero\u200bwidth\u200cjoin\u200d\u2060\ufeffers",
    "\u200b" * 500,
    "\u202eoverridden right to left\u202c",
    "\u202eoverridden and never closed",
    "\u202d\u202e" * 60 + "deep overrides",
    "\u2066isolate\u2069 \u2067right\u2069 \u2068first",
    "\u2067" * 200 + "open isolates",
    "\u2069" * 200 + "closed isolates",
    "\u200f\u061cmarks\u200e",
    "admin\u202etxt.exe",
    "שלום עולם <b>x</b> (123) abc",
    "مرحبا بالعالم [x](http://evil.example) ١٢٣",
    "ܐܒܓ ދިވެހި ߒߞߏ",
    "a" + "\u0301" * 300,
    "".join(letter + "".join(chr(0x300 + (n * 7) % 112) for n in range(60)) for letter in "ZALGO"),
    "\u0e01" + "\u0e49" * 300,
    "\u0b95\u0bcd" * 300,
    "ﷺ" * 200 + "﷽" * 50,
    "𒐫𒈙⸻꧅" * 50,
    "👩‍👩‍👧‍👦🏳️‍🌈👍🏽" * 50,
    "🇪🇺🇺🇳" * 200 + "🇪",
    "\U000e0001\U000e0041\U000e007f tags",
    "\ufe0f" * 100 + "\ufe0e" * 100,
    "\ufffd\ufffe\uffff\U0010ffff",
    "\ue000\uf8ff\U000f0000 private",
    "\x01\x02\x03\x07\x08\x0b\x0c\x0e\x1b[31mred\x1b[0m\x7f",
    "\x80\x81\x85\x9f\xad controls",
    "\u2028line\u2029paragraph separators",
    "carriage\rreturns\r\nand\n\rfeeds",
    "\ufeffa byte order mark",
    "ＦＵＬＬ ｗｉｄｔｈ ﬀ ligature Ⅷ ½",
    "＜script＞alert(1)＜/script＞",
    "‹script›alert(1)‹/script›",
    "ſcript KELVIN İı ß ẞ",
    "Ω≈ç√∫˜µ≤≥÷ Å Å Å",
    "𝒽𝓉𝓂𝓁 𝐛𝐨𝐥𝐝",
    "tab\tseparated\tvalues",
    "\u3000\u00a0\u2003\u1680 spaces",
    "\u034f\u115f\u1160\u3164\uffa0 fillers",
    "\u180e\u2061\u2062\u206a\u206f invisible",
]
SQL = [
    "'; DROP TABLE answer; --",
    "' OR '1'='1",
    '" OR ""="',
    "1; ATTACH 'x.db'; COPY answer TO '/tmp/x'",
    "') UNION SELECT * FROM person --",
    "'||(SELECT secret)||'",
    "read_text('/etc/passwd')",
    "$1 ? :name $name",
    "%' ESCAPE '\\",
    "0x27204f52",
    "/* comment */ -- comment",
    "Robert'); DROP TABLE prompts;--",
]
FORMULAS = [
    "=1+1",
    '=HYPERLINK("http://evil.example","x")',
    "=cmd|' /C calc'!A0",
    '+1+cmd|"/C calc"!A0',
    "-2+3+cmd|' /C calc'!A0",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    '=IMPORTXML("http://evil.example","//a")',
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    " =1+1",
    '","=1+1',
    '"\n=1+1',
    ";=1+1",
    "＝1+1",
    "|calc",
    "%0A=1+1",
]
PATHS = [
    "../../../../etc/passwd",
    "..\\..\\windows\\win.ini",
    "/etc/passwd",
    "C:\\Windows\\x",
    "\\\\evil.example\\share",
    "file:///etc/passwd",
    "~/.ssh/id_rsa",
    "....//....//x",
    "%2e%2e%2f%2e%2e%2fx",
    "x/../../y",
    "CON",
    "nul.txt",
    "a:b",
    "a*b?c",
    "-rf",
    "--help",
    ".",
    "..",
    ".hidden",
    "x" * 255,
    "x.jsonl\n.exe",
    "$(id)`id`;id|id&&id",
]
SHAPES = [
    "",
    " ",
    "\n",
    "0",
    "-0",
    "1e999",
    "9" * 400,
    "0.1",
    "[]",
    "{}",
    "false",
    "a,b,c",
    "a\nb",
    "'",
    '"',
    "''",
    '""',
    "`",
    "\\",
]


def _families() -> dict[str, list[str]]:
    handlers = [f"<p {name}={HIT}>x</p><img src=x {name}='{HIT}'>" for name in HANDLERS]
    links = [form.format(link) for link in LINKS for form in ("[x]({})", '<a href="{}">x</a>')]
    return {
        "tag": TAGS,
        "handler": handlers,
        "link": links,
        "markdown": MARKDOWN,
        "tex": TEX,
        "template": TEMPLATES,
        "nesting": NESTING,
        "unicode": UNICODE,
        "sql": SQL,
        "formula": FORMULAS,
        "path": PATHS,
        "shape": SHAPES,
        "long": LONG,
    }


FAMILIES = _families()
TEXTS = {f"{family}-{n}": text for family, texts in FAMILIES.items() for n, text in enumerate(texts)}
NAMES = [
    text
    for text in itertools.chain(TAGS[:12], TEMPLATES[:10], UNICODE[:24], SQL, FORMULAS, PATHS, LINKS[:6], ["__proto__"])
    if text.strip() and len(text) <= 200
]
