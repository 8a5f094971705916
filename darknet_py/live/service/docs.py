"""The page /docs: the paths of an OpenAPI description as plain HTML, which needs nothing from other hosts."""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any


def docs_page(description: Mapping[str, Any]) -> str:
    """An HTML page of an OpenAPI description."""
    title = escape(f"{description['info']['title']} {description['info']['version']}")
    body = "".join(part for path, methods in description["paths"].items() for method, facts in methods.items()
                   for part in _operation(f"{method.upper()} {path}", facts))
    schemas = "".join(part for name, schema in sorted(description["components"]["schemas"].items())
                      for part in _schema(name, schema))
    return (f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><h1>{title}</h1>'
            '<p><a href="/openapi.json">openapi.json</a> says the same to programs. With a token, requests need the '
            "header <code>Authorization: Bearer TOKEN</code>. <code>WS /stream?model=&amp;thresh=&amp;nms=</code> "
            "takes an image file a binary message, and answers each with a <code>StreamAnswer</code> as text; of "
            "frames that come faster than the network takes them the newest is answered.</p>"
            f"{body}<h2>Schemas</h2>{schemas}</html>")


def _operation(title: str, facts: Mapping[str, Any]) -> Iterator[str]:
    yield f"<h2>{escape(title)}</h2><p>{escape(facts.get('description', ''))}</p>"
    if parameters := facts.get("parameters"):
        yield "<table><tr><th>parameter<th>default<th>values<th>meaning"
        for one in parameters:
            schema = one["schema"]
            bounds = ", ".join(schema.get("enum") or [f"{schema[key]}" for key in ("minimum", "maximum")
                                                      if key in schema])
            yield "".join(f"<{tag}>{escape(str(text))}" for tag, text in (
                ("tr><td", one["name"]), ("td", schema.get("default", "")), ("td", bounds),
                ("td", one.get("description", ""))))
        yield "</table>"
    if body := facts.get("requestBody"):
        yield f"<p>Body: {escape(', '.join(body['content']))}</p>"
    yield "<table><tr><th>status<th>meaning<th>content"
    for status, answer in facts["responses"].items():
        yield "".join(f"<{tag}>{escape(text)}" for tag, text in (
            ("tr><td", status), ("td", answer["description"]), ("td", ", ".join(answer.get("content", ())))))
    yield "</table>"


def _schema(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield f"<h3>{escape(name)}</h3><p>{escape(schema.get('description', ''))}</p><table>"
    for key, value in schema.get("properties", {}).items():
        yield (f"<tr><td>{escape(key)}<td>{escape(_type(value))}"
               f"<td>{escape(value.get('description', ''))}")
    yield "</table>"


def _type(schema: Mapping[str, Any]) -> str:
    """Of a value, in words."""
    if "$ref" in schema:
        return schema["$ref"].rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return str(schema.get("type", "any"))
