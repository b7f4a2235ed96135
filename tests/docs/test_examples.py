"""Every Python block of the documentation runs. Those of one page share their names, as a reader would type them.

What a page says is printed, by comments such as `# -> Hello Ada`, is what is printed.
"""

import ast
import asyncio
import inspect
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from pages import PAGES, ROOT, Block, blocks

SNIPPETS = {
    str(page.relative_to(ROOT)): [block for block in blocks(page, "python") if block.file is None] for page in PAGES
}


@pytest.mark.parametrize("page", [name for name, found in SNIPPETS.items() if found])
def test_the_page_runs(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    asyncio.run(_run(SNIPPETS[page]))
    told = [line for snippet in SNIPPETS[page] for line in re.findall(r"# -> (.*)", snippet.text)]
    assert capsys.readouterr().out.splitlines() == told or (not told and not page.startswith("docs/guide"))


async def _run(snippets: list[Block]) -> None:
    names: dict[str, object] = {"__name__": "__main__"}
    for snippet in snippets:
        # Line numbers of a traceback are then those of the page.
        source = "\n" * snippet.line + snippet.text
        code = compile(source, str(snippet.page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = eval(code, names)
        if inspect.iscoroutine(result):
            await result
