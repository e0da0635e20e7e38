"""What a stage raises for something that its user can put right."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """Its message is one line that says what is wrong, where, and what to do."""


class SharedError(UserError):
    """One that all processes of a training raise; the first of them says it."""


def not_among(word: str, known: Iterable[str]) -> str:
    """For a message about an unknown name: `'dan'; did you mean 'dann'? (source_only, dann, dsn, mean_teacher)`."""
    known = list(known)
    word = word if len(word) <= 60 else f"{word[:60]}..."
    near = get_close_matches(word, known, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ", which is not known"
    return f"{word!r}{hint} ({', '.join(known)})"
