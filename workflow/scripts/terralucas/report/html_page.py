"""Pages that are one file each: they share the skeleton, style, script and macros of the templates."""

from __future__ import annotations

import base64
import functools
import hashlib
import itertools
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from terralucas.html_templates import html_environment
from terralucas.report.wording import breakable, duration_text, setting_pairs, value_text
from terralucas.tables.scores import PERCENT

TEMPLATES = Path(__file__).parent / "templates"


def render_page(template: str, *, study: str, title: str, question: str, **variables: Any) -> str:
    """Return the HTML of a page that needs no other file and no network.

    Args:
        template: name of a template that extends skeleton.html.j2.
        study: name of the study.
        title: title of the page.
        question: sentence below the title.
        variables: other variables of the template; `figures` (data URIs) and `alternatives` (texts) are those of the
            macro `figure`, by name.
    """
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8").strip()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        _environment()
        .get_template(template)
        .render(
            study=study,
            title=title,
            question=question,
            script=Markup(script),
            script_hash=f"sha256-{digest}",
            next_table=itertools.count(1).__next__,
            next_figure=itertools.count(1).__next__,
            **variables,
        )
    )


@functools.cache  # with the compiled templates
def _environment() -> jinja2.Environment:
    environment = html_environment(TEMPLATES)
    environment.filters |= {
        "pairs": setting_pairs,
        "plain": value_text,
        "duration": duration_text,
        "breakable": breakable,
        "percent": PERCENT.text,
    }
    return environment
