"""The Native DICOM Model (PS3.19 A.1) and the DICOM JSON model (PS3.18 F), one into the other."""

from collections.abc import Mapping
from typing import Any
from xml.etree.ElementTree import Element, SubElement, TreeBuilder, tostring
from xml.parsers import expat

from pydicom.datadict import keyword_for_tag

from radiology.dicom import NAME_GROUPS
from radiology.errors import CannotUnderstand

COMPONENTS = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
WHOLE_NUMBERS = {"IS", "US", "SS", "UL", "SL", "UV", "SV"}
NUMBERS = {"DS", "FL", "FD"}
MAX_DEPTH = 64

JsonModel = dict[str, dict[str, Any]]


def to_xml(data_set: Mapping[str, Any]) -> bytes:
    """One data set of the DICOM JSON model as an XML document."""
    root = Element("NativeDicomModel", {"xml:space": "preserve"})
    _fill(root, data_set)
    return bytes(tostring(root, encoding="utf-8", xml_declaration=True))


def _fill(parent: Element, data_set: Mapping[str, Any]) -> None:
    creators: dict[str, str] = {}
    for tag, each in data_set.items():
        facts = {"tag": tag, "vr": each["vr"]}
        if int(tag[:4], 16) % 2:
            if tag[4:6] == "00" and each.get("Value"):
                creators[tag[:4] + tag[6:]] = str(each["Value"][0])
            elif creator := creators.get(tag[:6], ""):
                # The block is of no matter where its owner is named (PS3.19 Table A.1.5-2).
                facts |= {"tag": f"{tag[:4]}00{tag[6:]}", "privateCreator": _legal(creator)}
        elif keyword := keyword_for_tag(int(tag, 16)):
            facts["keyword"] = keyword
        attribute = SubElement(parent, "DicomAttribute", facts)
        if "BulkDataURI" in each:
            SubElement(attribute, "BulkData", uri=_legal(str(each["BulkDataURI"])))
        elif "InlineBinary" in each:
            SubElement(attribute, "InlineBinary").text = str(each["InlineBinary"])
        for number, value in enumerate(each.get("Value", []), 1):
            if each["vr"] == "SQ":
                _fill(SubElement(attribute, "Item", number=str(number)), value or {})
            elif value is None:
                continue  # the numbers of the others say that it is empty
            elif each["vr"] == "PN":
                _name(SubElement(attribute, "PersonName", number=str(number)), value)
            else:
                SubElement(attribute, "Value", number=str(number)).text = _legal(str(value))


def _name(parent: Element, groups: Mapping[str, str]) -> None:
    for group, text in groups.items():
        named = SubElement(parent, group)
        for component, part in zip(COMPONENTS, text.split("^"), strict=False):
            if part:
                SubElement(named, component).text = _legal(part)


def _legal(text: str) -> str:
    """Without the control characters that XML cannot hold."""
    return "".join(c for c in text if (c >= " " or c in "\t\n\r") and c not in "\ufffe\uffff")


def from_xml(document: bytes) -> JsonModel:
    """One data set of an XML document. Raises CannotUnderstand for what is no Native DICOM Model."""
    root = _parsed(document)
    if root.tag != "NativeDicomModel":
        raise CannotUnderstand("The XML is no NativeDicomModel.")
    return _data_set(root, 0)


def _parsed(document: bytes) -> Element:
    """The tree, namespaces left out. No document type: it could name other files and grow without end."""
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    depth = 0

    def refuse(*_: Any) -> None:
        raise CannotUnderstand("The XML has a document type declaration, which is not taken.")

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > 4 * MAX_DEPTH:
            raise CannotUnderstand("The XML is nested too deeply.")
        builder.start(name.rpartition(":")[2], attributes)

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(name.rpartition(":")[2])

    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    parser.buffer_text = True
    try:
        parser.Parse(document, True)
        return builder.close()
    except (expat.ExpatError, ValueError, AssertionError) as error:
        raise CannotUnderstand("The XML is not well-formed.") from error


def _data_set(parent: Element, depth: int) -> JsonModel:
    if depth > MAX_DEPTH:
        raise CannotUnderstand("The data set is nested too deeply.")
    found: JsonModel = {}
    for attribute in parent:
        if attribute.tag != "DicomAttribute":
            raise CannotUnderstand("The XML holds something that is no DicomAttribute.")
        tag, vr = attribute.get("tag", "").upper(), attribute.get("vr", "")
        if creator := attribute.get("privateCreator", ""):
            tag = _in_block(tag, creator, found)
        element: dict[str, Any] = {"vr": vr}
        values: dict[int, Any] = {}
        for position, child in enumerate(attribute, 1):
            if child.tag == "BulkData":
                element["BulkDataURI"] = child.get("uri") or child.get("uuid") or ""
            elif child.tag == "InlineBinary":
                element["InlineBinary"] = "".join((child.text or "").split())
            else:
                number = child.get("number", str(position))
                if not (number.isascii() and number.isdigit() and 1 <= int(number[:6]) <= 100_000):
                    raise CannotUnderstand("A value of the XML has no proper number.")
                values[int(number)] = _value(child, vr, depth)
        if values:
            if max(values) > 2 * len(values) + 1000:
                raise CannotUnderstand("The values of an attribute are not numbered one after the other.")
            element["Value"] = [values.get(number) for number in range(1, max(values) + 1)]
        found[tag] = element
    return found


def _in_block(tag: str, creator: str, found: JsonModel) -> str:
    """The tag in the block that `creator` has reserved in this data set, or reserves now (PS3.5 7.8.1)."""
    if len(tag) != 8 or tag[4:6] != "00":
        return tag
    for block in range(0x10, 0x100):
        name = f"{tag[:4]}00{block:02X}"
        if name not in found:
            found[name] = {"vr": "LO", "Value": [creator]}
        if found[name].get("Value") == [creator]:
            return f"{tag[:4]}{block:02X}{tag[6:]}"
    raise CannotUnderstand("The XML has more private blocks than a group can hold.")


def _value(child: Element, vr: str, depth: int) -> Any:
    if child.tag == "Item":
        return _data_set(child, depth + 1)
    if child.tag == "PersonName":
        return {
            group.tag: "^".join(_component(group, name) for name in COMPONENTS).rstrip("^")
            for group in child
            if group.tag in NAME_GROUPS
        }
    if child.tag != "Value":
        raise CannotUnderstand(f"The XML holds a value of a kind that is not known in {vr or 'an attribute'}.")
    text = child.text or ""
    try:
        return int(text) if vr in WHOLE_NUMBERS else float(text) if vr in NUMBERS - {"DS"} else text
    except ValueError as error:
        raise CannotUnderstand("A number of the XML is none.") from error


def _component(group: Element, name: str) -> str:
    found = group.find(name)
    return (found.text or "") if found is not None else ""
