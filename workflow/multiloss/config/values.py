"""The kinds of values that the keys of a configuration have, and the base of its sections."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, ClassVar, NamedTuple, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from multiloss import study
from multiloss.data.sources import addresses


def fault(text: str) -> PydanticCustomError:
    """What is wrong, in a sentence that shows no secret."""
    return PydanticCustomError("fault", "{text}", {"text": text})


def unfit(text: str) -> PydanticCustomError:
    """What is wrong with a value; the message begins with the value unless it may be secret."""
    return PydanticCustomError("unfit", "{text}", {"text": text})


def not_known(name: str, known: Iterable[str]) -> PydanticCustomError:
    """A name that is none of the known ones."""
    told = {"name": addresses.public(name), "known": list(known)}
    return PydanticCustomError("not_known", "is not known", told)


class Section(BaseModel):
    """A mapping with fixed keys, each of its own type: no text becomes a number, no 1 a `true`."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )

    # Whether a mapping of it has only the keys that were given.
    only_given: ClassVar[bool] = False

    @classmethod
    def fields(cls) -> dict[str, str]:
        """The name of the attribute by the key of the configuration."""
        return {field.alias or name: name for name, field in cls.model_fields.items()}

    def plain(self, given: Any) -> dict[str, Any]:
        """As a mapping: what was given as it was given and in that order, then the defaults.

        So that parameters of jobs read the same whether or not a number has a point.
        """
        fields, given = self.fields(), given if isinstance(given, Mapping) else {}
        if self.only_given:
            fields = {key: name for key, name in fields.items() if name in self.model_fields_set}
        keys = [key for key in given if key in fields]
        keys += [key for key in fields if key not in given]
        return {key: plain(getattr(self, fields[key]), given.get(key)) for key in keys}


def plain(value: Any, given: Any) -> Any:
    """A value of a section without models; see `Section.plain`."""
    if isinstance(value, Section):
        return value.plain(given)
    if isinstance(value, list):
        given = given if isinstance(given, list) else [None] * len(value)
        return [plain(*pair) for pair in zip(value, given, strict=True)]
    return given if given is not None and given == value else value


@dataclass(frozen=True)
class OneOf:
    """A name that a registry knows; the registry is asked when a value is checked."""

    names: Callable[[], Iterable[str]]

    def check(self, name: str) -> str:
        known = self.names()
        if name not in known:
            raise not_known(name, known)
        return name

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "enum": list(self.names())}


class Form(NamedTuple):
    """What a text must look like, as a pattern and in words."""

    pattern: str
    words: str

    def check(self, text: str) -> str:
        if not re.fullmatch(self.pattern, text):
            raise unfit(f"is not {self.words}")
        return text

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^{self.pattern}$", "title": self.words}


def _unique(values: list) -> list:
    if any(value in values[:place] for place, value in enumerate(values)):
        raise unfit("has non-unique elements")
    return values


def _ordered(bounds: list) -> list:
    if bounds[0] > bounds[1]:
        raise unfit("must be [lowest, highest]")
    return bounds


def _rising(bounds: list) -> list:
    if any(later <= before for before, later in pairwise(bounds)):
        raise unfit("must rise from one to the next")
    return bounds


def _file_name(name: str) -> str:
    if wrong := study.fault_of_file_name(name):
        raise unfit(f"cannot be the name of a folder: {wrong}")
    return name


def _class_name(name: str) -> str:
    if name in ("micro", "macro"):
        raise unfit("cannot be the name of a class: tables call all classes together so")
    return name


T = TypeVar("T")

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
InnerShare = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Unique = Annotated[list[T], AfterValidator(_unique), Field(json_schema_extra={"uniqueItems": True})]
Rising = Annotated[list[T], Field(min_length=1), AfterValidator(_rising)]
Bounds = Annotated[list[T], Field(min_length=2, max_length=2), AfterValidator(_ordered)]

_NAME = Form(
    "[A-Za-z0-9][A-Za-z0-9_.-]*",
    "letters, digits, `_`, `.` and `-`, beginning with a letter or digit",
)
Name = Annotated[str, _NAME, AfterValidator(_file_name)]
VariantName = Annotated[str, Form("[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", f"at most 64 {_NAME.words}")]
OneLine = Annotated[
    str,
    Form(
        r"[^\x00-\x1f\x7f-\x9f\u2028\u2029{}]+",
        "text of one line without curly brackets",
    ),
]
ClassName = Annotated[OneLine, AfterValidator(_class_name)]
Sha256 = Annotated[str, Form("[0-9a-fA-F]{64}", "64 hexadecimal digits")]
Colour = Annotated[str, Form("#[0-9a-fA-F]{6}", "a colour such as #f7f7f7")]
