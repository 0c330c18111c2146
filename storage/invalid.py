"""How a value that may not enter is refused: the field, what was found, what was expected."""


class InvalidRecord(ValueError):
    """A value that may not enter: names the field, what was found and what was expected."""

    def __init__(self, field: str, found: object, expected: str):
        self.field, self.found, self.expected = field, shorten(found), expected
        super().__init__(f"{field}: found {self.found}, expected {expected}")


def shorten(value: object, limit: int = 80) -> str:
    """The value as a person can read it in an error message; lone surrogates are spelt out."""
    text = value if isinstance(value, str) else repr(value)
    text = text[: 2 * limit].encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= limit else text[: limit - 1] + "…"


def require(condition: bool, field: str, found: object, expected: str) -> None:
    """Raise InvalidRecord unless the condition holds."""
    if not condition:
        raise InvalidRecord(field, found, expected)
