"""Pages out of the templates in html/: one file each, with its style and scripts, that fetches nothing.

Whatever a page is given is shown as text. Scripts are the charts' libraries, which come with vl-convert, and our own; the page's
policy names them by their hash and admits no other.
"""

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import altair
import vl_convert
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from stages.report.names import measure_name, method_name, pair_name
from stages.runtime.files import replacing

HTML = Path(__file__).parent / "html"


def write(path: str | Path, template: str, content: dict[str, Any]) -> None:
    """Render a template of html/ into a file."""
    html = render(template, content)
    with replacing(path) as temporary:
        temporary.write_text(html, encoding="utf-8")


def render(template: str, content: dict[str, Any]) -> str:
    """The page; whatever `content` holds is shown as text, never taken for HTML or for a script."""
    scripts = {"libraries": libraries(), "own": (HTML / "page.js").read_text(encoding="utf-8")}
    sources = " ".join(f"'sha256-{_hash(script)}'" for script in scripts.values())
    html = environment().get_template(template).render(content, script_sources=sources)
    # Angle brackets in `content` have been escaped, so that these marks are the templates' own.
    for name, script in scripts.items():
        html = html.replace(f"<!--{name}-->", script)
    return html


def environment() -> Environment:
    """Jinja with the page's filters; everything is escaped."""
    found = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=FileSystemLoader(HTML)
    )
    found.filters |= {"percent": percent, "figure": figure, "deviation": deviation, "duration": duration, "gigabytes": gigabytes}
    found.filters |= {"method": method_name, "pair": pair_name, "measure": measure_name}
    return found


@cache
def libraries() -> str:
    """Vega, Vega-Lite and vega-embed as one script that fits into a page."""
    major, minor, _ = altair.SCHEMA_VERSION.removeprefix("v").split(".")
    script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=f"{major}.{minor}")
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--").replace("\r", "")


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def percent(value: float | dict[str, Any] | None) -> str:
    """A fraction, or a mean with its spread where there is one, as percent with one decimal."""
    if isinstance(value, dict):
        return percent(value["mean"]) + (f" ± {100 * value['std']:.1f}" if value["std"] else "")
    return "–" if value is None else f"{100 * value:.1f}"


def figure(value: float | dict[str, Any]) -> str:
    """A number, or a mean and as many decimals of its spread where there is one, short enough for a table."""
    if isinstance(value, dict):
        mean = figure(value["mean"])
        decimals = max(len(mean.partition(".")[2]), 2 if abs(value["mean"]) < 100 else 1)
        return mean + (f" ± {value['std']:.{decimals}f}" if value["std"] else "")
    size = abs(value)
    if size >= 1:
        return f"{value:.1f}" if size >= 100 else f"{value:.2f}"
    return f"{value:.4f}" if 0 < size < 0.01 else f"{value:.3g}"


def deviation(value: float) -> str:
    """A standard deviation with the two digits that are worth saying, or all before the point."""
    return f"{value:.0f}" if value >= 99.5 else f"{value:.2g}"


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, as people say them."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def gigabytes(count: float) -> str:
    """Bytes as gigabytes with two decimals."""
    return f"{count / 1e9:.2f} GB"
