"""The coverage page: every method of every document, emulated or not, made from the code that answers.

`uv run python -m tests.emulator.coverage` prints it.
"""

from __future__ import annotations

from collections import defaultdict

from tests.emulator.cloud import Cloud
from tests.emulator.discovery import Method


def page(cloud: Cloud) -> str:
    """Markdown: a table of counts, then the emulated methods by collection, then the others."""
    by_api: dict[str, list[Method]] = {api: list(doc.methods) for api, doc in cloud.router.documents.items()}
    lines = ["# What the emulator answers", "", "| API | methods | emulated |", "| --- | ---: | ---: |"]
    for api, methods in by_api.items():
        lines.append(f"| {api} | {len(methods)} | {sum(_done(cloud, each) for each in methods)} |")
    for title, wanted in (("Emulated", True), ("Answered with 501", False)):
        lines += ["", f"## {title}", ""]
        for api, methods in by_api.items():
            lines += _collections(api, [each for each in methods if _done(cloud, each) is wanted])
    return "\n".join(lines) + "\n"


def _done(cloud: Cloud, method: Method) -> bool:
    return cloud.handler(method) is not None


def _collections(api: str, methods: list[Method]) -> list[str]:
    grouped: dict[str, list[str]] = defaultdict(list)
    for method in methods:
        grouped[method.collection].append(method.verb)
    return [f"- {api} `{collection}`: {', '.join(sorted(verbs))}" for collection, verbs in sorted(grouped.items())]


if __name__ == "__main__":
    print(page(Cloud()), end="")
