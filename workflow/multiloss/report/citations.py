"""Text with citations in the formats that authors paste; entries are those of references.yaml."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from markupsafe import Markup, escape

from multiloss import references

_MARK = re.compile("\x02([^\x02]*)\x02")
_PARAGRAPH = re.compile(r"<p>(.*?)</p>", re.DOTALL)
_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$",
    "#": r"\#", "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}",
    "\N{MULTIPLICATION SIGN}": r"$\times$", "\N{MINUS SIGN}": "$-$", "\N{EN DASH}": "--",
    "\N{DEGREE SIGN}": r"$^\circ$", "\N{NO-BREAK SPACE}": "~", "\N{DAGGER}": r"\dag{}",
    "α": r"$\alpha$", "β": r"$\beta$", "γ": r"$\gamma$", "ε": r"$\varepsilon$",
    "λ": r"$\lambda$",
}  # fmt: skip


def cite(*keys: str) -> Markup:
    """A citation within a text that `Cited` reads. Raises KeyError for an unknown key."""
    for key in keys:
        references.known()[key]
    return Markup("\x02{}\x02").format(",".join(keys))


def linked(text: str) -> Markup:
    """Text whose DOIs and arXiv numbers, as references have them, are links."""
    shown = re.sub(
        r"doi:(10\.[^\s;]+[^\s;.,])", r'<a href="https://doi.org/\1">doi:\1</a>', str(escape(text))
    )
    return Markup(
        re.sub(r"arXiv:(\d{4}\.\d+)", r'<a href="https://arxiv.org/abs/\1">arXiv:\1</a>', shown)
    )


@dataclass(frozen=True)
class Cited:
    """Paragraphs of plain text with citations as from `cite`."""

    paragraphs: tuple[str, ...]

    @classmethod
    def of(cls, html: str) -> "Cited":
        """The text of the paragraphs (`<p>`) of a template, which hold no other tags."""
        found = (re.sub(r"[ \n\t]+", " ", text).strip() for text in _PARAGRAPH.findall(html))
        return cls(tuple(Markup(text).unescape() for text in found if text))

    @cached_property
    def keys(self) -> list[str]:
        """What is cited, in the order of the text, which is that of its numbers."""
        cited = _MARK.findall("".join(self.paragraphs))
        return list(dict.fromkeys(key for group in cited for key in group.split(",")))

    def _numbers(self, keys: Sequence[str]) -> list[int]:
        return sorted(self.keys.index(key) + 1 for key in keys)

    @property
    def html(self) -> list[Markup]:
        """The paragraphs, the numbers of references leading to elements `reference-KEY`."""

        def links(found: re.Match[str]) -> str:
            return "[" + ", ".join(
                f'<a href="#reference-{self.keys[n - 1]}">{n}</a>'
                for n in self._numbers(found[1].split(","))
            ) + "]"  # fmt: skip

        return [Markup(_MARK.sub(links, str(escape(text)))) for text in self.paragraphs]

    @property
    def references(self) -> dict[str, Markup]:
        """What is cited, written out with links, by key."""
        return {key: linked(references.cited(key)) for key in self.keys}

    @property
    def text(self) -> str:
        """Numbers in brackets, and the numbered references behind the text."""

        def numbers(found: re.Match[str]) -> str:
            return f"[{', '.join(map(str, self._numbers(found[1].split(','))))}]"

        listed = [f"{n}. {references.cited(key)}" for n, key in enumerate(self.keys, 1)]
        parts = [_MARK.sub(numbers, text) for text in self.paragraphs]
        return "\n\n".join([*parts, "References", "\n".join(listed)])

    @property
    def markdown(self) -> str:
        """Citations by key, as Pandoc reads them together with `bibtex`."""

        def keys(found: re.Match[str]) -> str:
            return f"[{'; '.join(f'@{key}' for key in found[1].split(','))}]"

        def quoted(text: str) -> str:
            return re.sub(r"([\\`*_<>#\[\]])", r"\\\1", text)

        parts = (_between(text, quoted, keys) for text in self.paragraphs)
        return "\n\n".join(parts)

    @property
    def latex(self) -> str:
        r"""Citations as \cite, of the entries in `bibtex`."""

        def quoted(text: str) -> str:
            return "".join(_LATEX.get(letter, letter) for letter in text)

        parts = (
            _between(text, quoted, lambda found: f"\\cite{{{found[1]}}}")
            for text in self.paragraphs
        )
        return "\n\n".join(parts)

    @property
    def bibtex(self) -> str:
        """An entry for each reference."""
        return "\n\n".join(map(references.bibtex, self.keys))


def _between(text: str, quoted: Callable[[str], str], shown: Callable[[re.Match[str]], str]) -> str:
    """Text with `shown` for each citation and `quoted` for what is between them."""
    parts, last = [], 0
    for found in _MARK.finditer(text):
        parts += [quoted(text[last : found.start()]), shown(found)]
        last = found.end()
    return "".join([*parts, quoted(text[last:])])
