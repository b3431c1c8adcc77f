"""C-FIND (PS3.4 C.4.1): the identifier of a request to a search, and its answers to identifiers."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from pydicom import Dataset

from pacs.dimse.answer_encoding import AnswerEncoding, only
from pacs.dimse.identifiers import CHARACTER_SET, QUERY_LEVEL, TIME_ZONE, keys_of, text_of
from pacs.models import ApplicationEntity
from pacs.services.attributes import REQUIRED, UNIQUE, Level, attribute
from pacs.services.criteria import Keys
from pacs.services.metadata import Attributes
from pacs.services.query import Search
from radiology.dicom import encodings, parse_offset
from radiology.errors import InvalidValue

PENDING, PENDING_WITH_UNSUPPORTED_KEYS = 0xFF00, 0xFF01


def find(
    *,
    who: Any,
    node: ApplicationEntity | None,
    model: Literal["PATIENT", "STUDY"],
    identifier: Dataset,
    relational: bool = False,
    combined: bool = False,
) -> Iterator[tuple[int, Attributes]]:
    """A pending status and the attributes of an identifier for each match that `who` may see.

    `model` is the root of the information model; `node` decides the character set of the answers and
    whether stored empty values match. Keys of other levels are honoured whether or not relational
    queries were negotiated. Raises InvalidValue, before the first answer, for an identifier that is
    not one of this model or has a malformed value, CannotUnderstand for one that cannot be read.
    """
    request_set = text_of(identifier, CHARACTER_SET, [])
    level = _level(text_of(identifier, QUERY_LEVEL, []), model)
    codecs = encodings(request_set)
    keys = keys_of(identifier, codecs)
    if TIME_ZONE in identifier:
        keys["TimezoneOffsetFromUTC"] = ""
    matches_empty = REQUIRED if node is None or node.empty_values_match else frozenset()
    found = Search(
        who=who,
        level=level,
        keys=keys,
        combined=combined,
        zone=parse_offset(text_of(identifier, TIME_ZONE, codecs)),
        # PatientID is the unique key of the Patient Root model, C.6.1.1.2, and a required key of the other.
        empty_matches=matches_empty - {"PatientID"} if model == "PATIENT" else matches_empty,
    )
    status = PENDING_WITH_UNSUPPORTED_KEYS if found.unsupported else PENDING
    returned = {*keys, "RetrieveAETitle", *(UNIQUE[each] for each in Level if _is_unique_at(each, level, model))}
    node_set = node.specific_character_set if node is not None else ""
    return _answers(found, returned, keys, status, AnswerEncoding(node_set, request_set))


def _answers(
    found: Search, returned: Iterable[str], keys: Keys, status: int, encoding: AnswerEncoding
) -> Iterator[tuple[int, Attributes]]:
    items = {each.tag: item for name, item in keys.items() if (each := attribute(name)) and isinstance(item, Mapping)}
    for answer in found.answers(returned=list(returned)):
        for tag, item in items.items():
            if item and tag in answer:
                answer[tag] = only(answer[tag], item)
        attributes = encoding.attributes(answer)
        attributes[f"{QUERY_LEVEL:08X}"] = {"vr": "CS", "Value": [found.level.value]}
        yield status, attributes


def _is_unique_at(each: Level, level: Level, model: str) -> bool:
    return each.depth <= level.depth and (model == "PATIENT" or each != Level.PATIENT)


def _level(text: str, model: str) -> Level:
    if text not in list(Level) or (text == Level.PATIENT and model != "PATIENT"):
        raise InvalidValue("The Query/Retrieve Level is none of this information model.", field="QueryRetrieveLevel")
    return Level(text)
