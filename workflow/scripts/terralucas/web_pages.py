"""Describe web pages that a server sent instead of a file."""

from __future__ import annotations

import html
import re


def describe_web_page(head: bytes) -> str | None:
    """Return the title and the error sentence of a web page, or None if the bytes are not a web page."""
    text = head.decode("utf-8", errors="replace")
    if not re.match(r"\ufeff?\s*(<!doctype html|<html|<head|<title|<!--)", text, re.IGNORECASE):
        return None
    title = re.search(r"<title[^>]*>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
    caption = re.search(r'class="uc-error-caption">(.*?)</p>', text, re.DOTALL)
    summary = f'a web page titled "{visible_text(title[1])}"' if title else "a web page without a title"
    return f"{summary} ({visible_text(caption[1])})" if caption else summary


def visible_text(markup: str) -> str:
    """Return the text of a piece of HTML on one line, without tags."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", markup)).split())
