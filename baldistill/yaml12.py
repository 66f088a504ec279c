"""YAML 1.2: the one reader and writer of the package.

Only `true` and `false` are booleans, `12:30` is text, and only `0o14` is octal. Numbers may have
underscores (`20_000`), and dates are text. A key that stands twice is an error.
"""

from __future__ import annotations

from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError, DuplicateKeyError, SafeConstructor
from ruamel.yaml.error import YAMLError
from ruamel.yaml.representer import SafeRepresenter


class NotYamlError(ValueError):
    """A text that is not YAML; the message has the line and the column."""


class _Constructor(SafeConstructor):
    """Reads dates and `=` as text, as YAML 1.2 does; ruamel.yaml follows 1.1 there."""

    def construct_text(self, node: Any) -> str:
        r"""Return a text; as in JSON, two escapes may stand for one character: `\ud83d\ude00`.

        Raises:
            ConstructorError: It holds half of such a pair, which nothing can write.
        """
        text = str(self.construct_scalar(node))
        try:
            return text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            problem = "half of a surrogate pair is no character"
            raise ConstructorError(None, None, problem, node.start_mark) from None


for _tag in ("str", "timestamp", "value"):
    _Constructor.add_constructor(f"tag:yaml.org,2002:{_tag}", _Constructor.construct_text)


class _Representer(SafeRepresenter):
    """Writes 2.0e-05 for 2e-05, which a reader of YAML 1.1 takes for text."""

    def represent_float(self, data: float) -> Any:
        text = super().represent_float(data).value
        text = text if "." in text else text.replace("e", ".0e")
        return self.represent_scalar("tag:yaml.org,2002:float", text)

    def represent_text(self, text: str) -> Any:
        """Write U+0085 as an escape: ruamel.yaml reads the character itself as a space."""
        style = '"' if "\x85" in text else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Representer.add_representer(float, _Representer.represent_float)
_Representer.add_representer(str, _Representer.represent_text)
_WIDTH = 1_000_000  # of a line; a long path stays behind its key


def read_yaml(text: str) -> Any:
    """Read one YAML document.

    Raises:
        NotYamlError: With the line and the column.
    """
    reader = YAML(typ="safe", pure=True)
    reader.Constructor = _Constructor
    try:
        return reader.load(text)
    except DuplicateKeyError as error:
        error.note = None  # it says how to allow duplicate keys
        raise NotYamlError(str(error)) from None
    except (YAMLError, ValueError) as error:  # ValueError: no number, such as 0x_
        raise NotYamlError(str(error)) from None


def write_yaml(values: Any) -> str:
    """Return values of JSON types as YAML that `read_yaml` reads back; keys keep their order."""
    writer = YAML(typ="safe", pure=True)
    writer.Representer = _Representer
    writer.width = _WIDTH
    writer.default_flow_style = False
    writer.representer.sort_base_mapping_type_on_output = False
    text = StringIO()
    writer.dump(values, text)
    return text.getvalue()
