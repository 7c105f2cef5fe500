"""Partial responses: the `fields` parameter.

Source: https://cloud.google.com/storage/docs/json_api#partial-response (`a,b(c,d),e/f,*`).
"""

from __future__ import annotations

from typing import Any

Selection = dict[str, "Selection"]
"""Names kept at one level; an empty selection below a name keeps all of it."""


def only(answer: dict[str, Any], fields: str) -> dict[str, Any]:
    """The answer reduced to the fields asked for; all of it where none are named."""
    if not fields:
        return answer
    kept = _keep(answer, _parse(fields))
    return kept if isinstance(kept, dict) else answer


def _parse(text: str) -> Selection:
    root: Selection = {}
    levels, at, word = [root], root, ""

    def close(node: Selection, name: str) -> Selection:
        for part in filter(None, name.strip().split("/")):
            node = node.setdefault(part, {})
        return node

    for char in text + ",":
        if char == "(":
            levels.append(close(at, word))
            at, word = levels[-1], ""
        elif char in ",)":
            close(at, word)
            word = ""
            if char == ")" and len(levels) > 1:
                levels.pop()
                at = levels[-1]
        else:
            word += char
    return root


def _keep(value: Any, selection: Selection) -> Any:
    if not selection or "*" in selection:
        return value
    if isinstance(value, list):
        return [_keep(item, selection) for item in value]
    if isinstance(value, dict):
        return {name: _keep(item, selection[name]) for name, item in value.items() if name in selection}
    return value
