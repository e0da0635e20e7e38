"""One file over HTTP: tried again where that may help, its progress on stderr. What it must hash to is for the caller to check.

Redirects are followed, but never from https to plain http; it is the checksum that says whether the right file came.
"""

import math
import re
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlencode, urljoin, urlsplit, urlunsplit

ATTEMPTS = 4
SECONDS_BEFORE_RETRY = 2.0
SECONDS_OF_SILENCE = 30
CHUNK = 1 << 16
LONGEST_PAGE = 1 << 20


class DownloadError(Exception):
    """Why a file did not come, in a few words; `passing` where another attempt may succeed."""

    def __init__(self, reason: str, *, passing: bool = False) -> None:
        super().__init__(reason)
        self.passing = passing


def download(address: str, target: Path, size: int | None = None) -> None:
    """Write what `address` gives to `target`; DownloadError leaves no file behind. `size` serves the progress alone.

    Broken connections, silence and a server's own errors are tried again, from the start, after growing waits. Credentials
    in the address are used, and never shown.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _attempt(address, target, size)
        except DownloadError as error:
            if not error.passing or attempt == ATTEMPTS:
                raise
            wait = SECONDS_BEFORE_RETRY * 2 ** (attempt - 1)
            print(f"{target.name}: {error}; attempt {attempt + 1} of {ATTEMPTS} in {wait:.0f} s", file=sys.stderr, flush=True)
            time.sleep(wait)


def without_credentials(address: str) -> str:
    """The address as it may be shown: without the user's name and password."""
    return re.sub(r"^(\w+://)[^/?#]*@", r"\1", address)


class Progress:
    """Bytes, rate and time left: a bar on a terminal, a line every ten seconds in a log file, and one at the end.

    It has the methods that pooch's downloaders call.
    """

    def __init__(self, name: str, size: int | None, *, seconds_between_lines: float = 10.0) -> None:
        self.name, self.total, self.size, self.done = name, size or 0, size, 0
        self.seconds_between_lines = seconds_between_lines
        self.started = self.said = time.monotonic()
        self.bar: Any = None
        if sys.stderr.isatty():
            from tqdm import tqdm

            self.bar = tqdm(total=size, desc=name, unit="B", unit_scale=True, unit_divisor=1000, leave=True)

    def update(self, count: int) -> None:
        """So many more bytes; pooch gives the chunk's size, also for the last, shorter one."""
        expected = self.total or self.size or math.inf
        count = min(count, expected - self.done)
        self.done += count
        if self.bar is not None:
            self.bar.total = None if expected == math.inf else expected
            self.bar.update(count)
        elif time.monotonic() - self.said > self.seconds_between_lines:
            self.said = time.monotonic()
            print(self._line(expected), file=sys.stderr, flush=True)

    def reset(self) -> None:
        """pooch starts the count anew to fill the bar when all is there: what counts here is what came."""

    def close(self) -> None:
        """All is there: end the bar, or say what came and how fast."""
        if self.bar is None:
            print(f"{self.name}: {_amount(self.done)}, {_amount(self._rate())}/s", file=sys.stderr, flush=True)
        self.close_bar()

    def close_bar(self) -> None:
        """End the bar's line, also after a failure."""
        if self.bar is not None:
            self.bar.close()

    def _line(self, expected: float) -> str:
        if expected == math.inf:
            return f"{self.name}: {_amount(self.done)}, {_amount(self._rate())}/s"
        left = "{:02d}:{:02d}".format(*divmod(round((expected - self.done) / max(self._rate(), 1.0)), 60))
        return f"{self.name}: {_amount(self.done)} of {_amount(expected)}, {_amount(self._rate())}/s, {left} left"

    def _rate(self) -> float:
        return self.done / max(time.monotonic() - self.started, 1e-9)


def _attempt(address: str, target: Path, size: int | None) -> None:
    # They cost a quarter of a second, and a stage that reads wheels only has no need of them.
    import requests

    try:
        try:
            _get(address, target, size)
        except _PageCame as page:
            if page.confirmed_address is None:
                raise
            _get(page.confirmed_address, target, size, cookies=page.cookies)
    except _PageCame as page:
        target.unlink(missing_ok=True)
        raise DownloadError(page.reason) from None
    except requests.RequestException as error:
        target.unlink(missing_ok=True)
        raise _explained(error) from None
    except BaseException:  # whatever it was, Ctrl-C too, half a file is no file
        target.unlink(missing_ok=True)
        raise


def _get(address: str, target: Path, size: int | None, **options: Any) -> None:
    from pooch import HTTPDownloader

    try:
        parts = urlsplit(address)
    except ValueError as error:
        raise DownloadError(f"no valid address: {error}") from None
    if parts.username is not None:
        # A user's name without a password is one whose password is empty.
        options["auth"] = (unquote(parts.username), unquote(parts.password or ""))
    progress = Progress(target.name, size)
    downloader = HTTPDownloader(
        progressbar=progress,
        chunk_size=CHUNK,
        timeout=SECONDS_OF_SILENCE,
        headers={"Accept-Encoding": "identity"},
        hooks={"response": _look_at(parts.scheme)},
        **options,
    )
    try:
        downloader(without_credentials(address), str(target), None)
    finally:
        progress.close_bar()


def _look_at(scheme: str) -> Callable[..., None]:
    """What requests is to do with each response, redirects among them, to a request that began with `scheme`."""

    def look(response: Any, **_: Any) -> None:
        if response.is_redirect:
            if scheme == "https" and response.headers["location"].lower().startswith("http:"):
                raise DownloadError("the server redirects from https to an address that is not protected")
        elif response.ok and response.headers.get("content-type", "").startswith("text/html"):
            raise _PageCame(response)
        # Some servers call the compression of a .tgz file that of its transfer; unpacked in passing it would be another file.
        response.raw.headers.discard("content-encoding")

    return look


class _PageCame(Exception):
    """A web page in the file's place: Google Drive's question whether to download a large file, or what tells of a failure."""

    def __init__(self, response: Any) -> None:
        super().__init__()
        page = _Page()
        with suppress(AssertionError):  # that is how the parser takes offence at malformed declarations
            page.feed(next(response.iter_content(LONGEST_PAGE), b"").decode("utf-8", "replace"))
        self.cookies = response.cookies
        self.confirmed_address = page.confirmed_address(response.url)
        title = "".join(character for character in " ".join(page.title.split())[:80] if character.isprintable())
        self.reason = "a web page came instead of the file" + (f', titled "{title}"' if title else "")
        if "quota" in title.lower():
            self.reason += ": today's downloads of this file are used up"


class _Page(HTMLParser):
    """The title of a web page, and its form named `download-form`, the one with which Google Drive asks for confirmation."""

    def __init__(self) -> None:
        super().__init__()
        self.title, self.action, self.fields = "", "", {}
        self.inside = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        if tag == "title" or (tag == "form" and given.get("id") == "download-form"):
            self.inside = tag
            self.action = given.get("action", self.action)
        elif tag == "input" and self.inside == "form" and given.get("type") == "hidden":
            self.fields[given.get("name", "")] = given.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == self.inside:
            self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside == "title":
            self.title += data

    def confirmed_address(self, page: str) -> str | None:
        """Where the form leads, or None without a form, and where it leads to someone else than who gave the page."""
        if not self.fields:
            return None
        try:
            there, here = urlsplit(urljoin(page, self.action)), urlsplit(page)
        except ValueError:
            return None
        same = (there.scheme, there.netloc) == (here.scheme, here.netloc)
        both_google = all(part.scheme == "https" and f".{part.hostname}".endswith(".google.com") for part in (there, here))
        return urlunsplit(there._replace(query=urlencode(self.fields), fragment="")) if same or both_google else None


def _explained(error: Any) -> DownloadError:
    """The words for what requests raised; never its own, which can hold the address with credentials."""
    import requests

    match error:
        case requests.HTTPError():
            status = error.response.status_code
            words = "".join(character for character in str(error.response.reason or "")[:40] if character.isprintable())
            return DownloadError(f"HTTP {status} {words}".strip(), passing=status >= 500 or status in (408, 425, 429))
        case requests.exceptions.SSLError():
            return DownloadError(f"no secure connection: {_deepest(error)}")
        case requests.Timeout():
            return DownloadError(f"no answer for {SECONDS_OF_SILENCE} s", passing=True)
        case requests.exceptions.ChunkedEncodingError():
            return DownloadError("the connection broke off", passing=True)
        case requests.ConnectionError():
            return DownloadError(_deepest(error), passing=True)
        case _:
            return DownloadError(type(error).__name__)


def _deepest(error: BaseException) -> str:
    """What the operating system said, at the bottom of the exceptions that were raised one from another."""
    seen, words = set(), type(error).__name__
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        words = getattr(error, "verify_message", None) or getattr(error, "strerror", None) or words
        error = error.__cause__ or error.__context__
    return words


def _amount(count: float) -> str:
    """Bytes in words: 1.4 GB."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"
