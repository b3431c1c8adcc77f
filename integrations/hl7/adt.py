"""ADT: what the hospital says of its patients (HL7 v2 chapter 3; IHE RAD-1 and RAD-12, ITI-8)."""

from collections.abc import Callable

from django.utils.translation import gettext as _

from integrations.hl7 import patients, visits
from integrations.hl7.message import Message, Segment, lacks
from integrations.hl7.outcome import Outcome
from integrations.hl7.values import Identifier
from integrations.models import Hl7Peer
from radiology.errors import Conflict, InvalidValue, NotFound
from radiology.models import Patient
from radiology.services.accession import lock
from radiology.services.links import link_patients, unlink_patients
from radiology.services.merges import merge_patients
from radiology.services.registration import change_patient
from radiology.services.survivors import survivor_of


def create_or_update(message: Message, peer: Hl7Peer, outcome: Outcome) -> None:
    """A01 A04 A05 A08 A28 A31: the patient is here and is as the message says; an update may come first."""
    pid = message.require("PID")
    patient, is_new = patients.find_or_register(peer, pid, outcome)
    outcome.patient = patient if is_new else patients.update(peer, pid, patient, outcome)


def merge(message: Message, peer: Hl7Peer, outcome: Outcome) -> None:
    """A40 A18 A34: the patient of MRG-1 is that of the PID before it; one pair or several."""
    pairs = _pairs(message)
    for pid, mrg in pairs:
        _merge(pid, mrg, peer, outcome)


def change_number(message: Message, peer: Hl7Peer, outcome: Outcome) -> None:
    """A47: the patient of MRG-1 has the number of PID-3 from now on."""
    for pid, mrg in _pairs(message):
        new = patients.mrn_of(pid, peer)
        old = _former(mrg, peer, new)
        _lock(peer, new.value, old.value)
        known, holder = patients.find(peer, old), patients.find(peer, new)
        if known is None:
            if holder is None:
                raise NotFound(_("Nobody has the number %(number)s.") % {"number": old.value}, field="MRG-1")
            outcome.patient = survivor_of(holder)
            outcome.note(_("The patient had the new number already."))
            continue
        patient = survivor_of(known)
        if holder is not None and survivor_of(holder).pk == patient.pk:
            outcome.patient = patient
            outcome.note(_("The patient had the new number already."))
            continue
        if patient.pk != known.pk:
            raise Conflict(
                _("The patient with the number %(number)s was merged into another: it keeps its number.")
                % {"number": old.value},
                field="MRG-1",
            )
        changed = change_patient(
            who=peer,
            patient=patient,
            version=patient.version,
            values={"patient_id": new.value, "issuer_of_patient_id": new.issuer},
            reason=_("The hospital system says so"),
        )
        outcome.patient = changed
        outcome.did("changed", changed)


def link(message: Message, peer: Hl7Peer, outcome: Outcome) -> None:
    """A24: the two PIDs are one person under two numbers; nothing is merged."""
    one, other = (survivor_of(patients.find_or_register(peer, pid, outcome)[0]) for pid in _two(message, peer))
    outcome.patient = one
    if one.pk == other.pk:
        outcome.note(_("The two are one patient already."))
    elif link_patients(who=peer, one=one, other=other):
        outcome.did("linked", one)
        outcome.did("linked", other)
    else:
        outcome.note(_("The two were linked already."))


def unlink(message: Message, peer: Hl7Peer, outcome: Outcome) -> None:
    """A37: takes A24 back. What A40 merged stays merged."""
    known = [patients.find(peer, patients.mrn_of(pid, peer)) for pid in _two(message, peer)]
    found = [survivor_of(each) for each in known if each is not None]
    outcome.patient = found[0] if found else None
    if len({each.pk for each in found}) == 2 and unlink_patients(who=peer, one=found[0], other=found[1]):
        outcome.did("unlinked", found[0])
        outcome.did("unlinked", found[1])
    else:
        outcome.note(_("Nothing was changed: the two were not linked."))


def nothing_to_change(message: Message, peer: Hl7Peer, outcome: Outcome) -> None:
    """Events about what this department keeps no record of: accepted, and nothing changes."""
    outcome.note(_("Nothing was changed: this department keeps no record of what the event is about."))


def _merge(pid: Segment, mrg: Segment, peer: Hl7Peer, outcome: Outcome) -> None:
    into = patients.mrn_of(pid, peer)
    gone = _former(mrg, peer, into)
    if (into.value, into.issuer) == (gone.value, gone.issuer):
        raise InvalidValue(_("A patient cannot be merged into itself: MRG-1 is PID-3."), field="MRG-1")
    _lock(peer, into.value, gone.value)
    merged = patients.find(peer, gone)
    named = patients.find(peer, into)
    survivor = survivor_of(named) if named is not None else patients.register(peer, pid, into, outcome)
    outcome.patient = survivor
    if merged is None:
        # What still comes under the old number, late, then finds its way.
        merged = patients.register(peer, _named(pid, survivor), gone, outcome)
    if merged.merged_into_id is not None and survivor_of(merged).pk == survivor.pk:
        outcome.note(_("The two were merged already."))
        return
    if survivor.pk == merged.pk:
        raise Conflict(
            _("The two are one patient already, and the number %(number)s is the one that stayed.")
            % {"number": gone.value},
            field="MRG-1",
        )
    done = merge_patients(who=peer, survivor=survivor, merged=merged, reason=_("The hospital system says so"))
    outcome.did("merged", done.merged)
    outcome.did("changed", done.survivor)


def _former(mrg: Segment, peer: Hl7Peer, number: Identifier) -> Identifier:
    """The number of MRG-1 that is of the same kind as `number`: of its issuer, where one is."""
    numbers = patients.numbers_of(mrg, peer, field=1, instead=0)
    first = patients.mrn_of(mrg, peer, field=1, instead=0)
    return next((each for each in numbers if each.issuer == number.issuer), first)


def _named(pid: Segment, survivor: Patient) -> Segment:
    """The PID without numbers of its own, for somebody who is the same person under another number."""
    kept = list(pid.fields)
    for number in (2, 3, 4):
        if number < len(kept):
            kept[number] = ()
    return Segment(pid.name, tuple(kept))


def _pairs(message: Message) -> list[tuple[Segment, Segment]]:
    """Each MRG with the PID that precedes it. Raises InvalidValue when there is none."""
    found = []
    pid: Segment | None = None
    for segment in message.segments:
        if segment.name == "PID":
            pid = segment
        elif segment.name == "MRG":
            if pid is None:
                raise InvalidValue(_("The MRG segment comes before its PID."), field="MRG")
            found.append((pid, segment))
    if not found:
        raise lacks("MRG" if pid else "PID")
    return found


def _two(message: Message, peer: Hl7Peer) -> list[Segment]:
    """The two PIDs of a link, whose numbers are held until the transaction ends."""
    pids = list(message.all("PID"))
    if len(pids) != 2:
        raise InvalidValue(
            _("A link names two patients: the message has %(count)d PID segments.") % {"count": len(pids)}, field="PID"
        )
    numbers = [patients.mrn_of(pid, peer) for pid in pids]
    if numbers[0] == numbers[1]:
        raise InvalidValue(_("A patient cannot be linked with itself."), field="PID-3")
    _lock(peer, *(each.value for each in numbers))
    return pids


def _lock(peer: Hl7Peer, *numbers: str) -> None:
    """Hold the numbers, in one order, so that messages about the same two never wait for one another."""
    for number in sorted(set(numbers)):
        lock("patient", peer.site_id, number)


Handler = Callable[[Message, Hl7Peer, Outcome], None]

# About beds, doctors and pending visits, of which nothing is kept here. What could change something and is not
# understood (A29 deletes a person, A60 changes allergies) is not among them.
WITHOUT_EFFECT = (
    "A09", "A14", "A15", "A16", "A20", "A21", "A22", "A25", "A26", "A27", "A33", "A50", "A51", "A52", "A53", "A54",
    "A55",
)  # fmt: skip

EVENTS: dict[str, Handler] = {
    **dict.fromkeys(WITHOUT_EFFECT, nothing_to_change),
    **dict.fromkeys(("A01", "A04", "A05", "A08", "A28", "A31"), create_or_update),
    **dict.fromkeys(("A18", "A34", "A40"), merge),
    **dict.fromkeys(("A02", "A06", "A07", "A12", "A13", "A17"), visits.change_location),
    **dict.fromkeys(("A11", "A23", "A38"), visits.cancel),
    "A03": visits.leave,
    "A10": visits.arrive,
    "A24": link,
    "A32": visits.take_arrival_back,
    "A37": unlink,
    "A47": change_number,
}
