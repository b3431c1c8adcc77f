from typing import Any, Protocol, Self

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from radiology.dicom import PersonName
from radiology.guest import Guest
from radiology.models.keys import uuid7
from radiology.models.site import DEFAULT_SITE, Site
from radiology.models.text import KeyField
from radiology.phonetics import sound_beginning, sound_key


class Viewer(Protocol):
    """Whoever asks: a User, an ApiToken, an ApplicationEntity."""

    @property
    def site_id(self) -> int: ...
    @property
    def sees_every_site(self) -> bool: ...
    def may(self, scope: str) -> bool: ...


class PatientQuerySet(models.QuerySet["Patient"]):
    def visible_to(self, who: Any) -> Self:
        """The patients that `who` may see: those of one's own site; of a guest, those that a link was about."""
        if isinstance(who, Guest):
            return self.filter(pk__in=who.patients)
        if not (who.may("studies.read") or who.may("patients.write")):
            return self.none()
        return self if who.sees_every_site else self.filter(site_id=who.site_id)

    def current(self) -> Self:
        """Those who were not merged into another."""
        return self.filter(merged_into=None)

    def named(self, words: list[str]) -> Self:
        """Those whose name has, for each of `words` (folded), a word that begins with it."""
        found = self
        for word in words:
            found = found.filter(Q(pk__in=PatientNameWord.objects.filter(word__startswith=word).values("patient_ref")))
        return found

    def holding(self, parts: list[str]) -> Self:
        """Those whose name may have all of `parts` (folded) in it; parts under three letters narrow nothing."""
        narrowing = [part for part in parts if NameTrigrams.of(part)]
        pieces = NameFivegrams if all(map(NameFivegrams.of, narrowing)) else NameTrigrams
        wanted = [piece for part in narrowing for piece in pieces.of(part)]
        return self.alias(_pieces=pieces("patient_name_search")).filter(_pieces__contains=wanted)

    def sounding(self, words: list[str]) -> Self:
        """Those whose name has, for each of `words` (folded), a word that sounds like it or begins so."""
        found = self
        for word in words:
            alike = PatientNameWord.objects.filter(
                Q(sound=sound_key(word)) | Q(sound__startswith=sound_beginning(word))
            )
            found = found.filter(Q(pk__in=alike.values("patient_ref")))
        return found


class NameTrigrams(models.Func):
    """Every three letters on end of a name as it is searched: what holds a part of it holds all of the part's.

    The function is made by a migration; an index by it finds a part of a name wherever that stands.
    """

    function = "name_trigrams"
    output_field = ArrayField(models.TextField())

    @staticmethod
    def of(part: str) -> list[str]:
        """Those of a part of a name; of fewer than three letters there are none."""
        return sorted({part[at : at + 3] for at in range(len(part) - 2)})


class NameFivegrams(models.Func):
    """Every five letters on end of the words of a name: far fewer names have them than have three of those letters."""

    function = "name_fivegrams"
    output_field = ArrayField(models.TextField())

    @staticmethod
    def of(part: str) -> list[str]:
        """Those of a part of a name; of fewer than five letters there are none."""
        return sorted({piece for at in range(len(part) - 4) if " " not in (piece := part[at : at + 5])})


class Patient(models.Model):
    """A person examined, as one issuer knows them (PatientID within IssuerOfPatientID).

    `provisional_for` names the Study Instance UID whose objects gave no identity that could be
    trusted (PatientID empty, or known with another name and birth date): such a patient is that
    study's alone until somebody decides whose it is.

    `merged_into` names the patient that this one turned out to be: the row stays, so that its number goes
    on leading somewhere, and whatever names it acts on that one (radiology.services.survivors).
    """

    public_id = models.UUIDField(_("public id"), default=uuid7, unique=True, editable=False)
    site = models.ForeignKey(Site, models.PROTECT, verbose_name=_("site"), default=DEFAULT_SITE)
    patient_id = KeyField(_("patient ID (MRN)"), max_length=64)
    issuer_of_patient_id = KeyField(_("issuer of patient ID"), max_length=64)
    provisional_for = KeyField(_("provisional for study"), max_length=64, editable=False)
    patient_name = models.CharField(
        _("name"), max_length=324, blank=True, default="", help_text=_("As in DICOM: FAMILY^GIVEN^MIDDLE^PREFIX^SUFFIX")
    )
    patient_name_alphabetic = models.CharField(
        _("alphabetic name"), max_length=324, blank=True, default="", editable=False
    )
    patient_name_ideographic = models.CharField(
        _("ideographic name"), max_length=324, blank=True, default="", editable=False
    )
    patient_name_phonetic = models.CharField(_("phonetic name"), max_length=324, blank=True, default="", editable=False)
    patient_name_search = KeyField(_("name for search"), max_length=512, editable=False)
    patient_name_sort = KeyField(_("name for sorting"), max_length=324, editable=False)
    patient_birth_date = KeyField(_("birth date"), max_length=16, help_text=_("YYYYMMDD"))
    birth_date = models.DateField(_("birth date (date)"), null=True, blank=True, editable=False)
    patient_sex = KeyField(_("sex"), max_length=16, help_text=_("M, F, O or empty"))
    patient_address = models.CharField(_("address"), max_length=300, blank=True, default="")
    patient_telephone_numbers = models.CharField(_("telephone"), max_length=100, blank=True, default="")
    patient_mother_birth_name = models.CharField(
        _("mother's birth name"), max_length=200, blank=True, default="", help_text=_("As in DICOM: FAMILY^GIVEN")
    )
    allergies = models.CharField(
        _("allergies"), max_length=500, blank=True, default="", help_text=_("Shown beside the name on every page.")
    )
    medical_alerts = models.CharField(
        _("alerts"), max_length=500, blank=True, default="", help_text=_("Shown beside the name on every page.")
    )
    patient_comments = models.CharField(_("comments"), max_length=2000, blank=True, default="")
    is_temporary = models.BooleanField(
        _("temporary identity"), default=False, help_text=_("An unknown patient, until somebody finds out who it is.")
    )
    merged_into = models.ForeignKey(
        "self",
        models.PROTECT,
        verbose_name=_("merged into"),
        null=True,
        blank=True,
        editable=False,
        related_name="merged_patients",
        db_index=False,
    )
    merged_at = models.DateTimeField(_("merged"), null=True, blank=True, editable=False)
    attributes = models.JSONField(_("other attributes"), default=dict, blank=True, editable=False)
    version = models.PositiveIntegerField(_("version"), default=1, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("updated"), auto_now=True, editable=False)

    objects = PatientQuerySet.as_manager()

    class Meta:
        verbose_name = _("patient")
        verbose_name_plural = _("patients")
        permissions = [("merge_patient", _("Can merge patients, and take a merge back"))]
        constraints = [
            models.UniqueConstraint(
                fields=["site", "issuer_of_patient_id", "patient_id"],
                condition=Q(provisional_for="") & ~Q(patient_id=""),
                name="patient_identity",
            ),
            models.UniqueConstraint(
                fields=["site", "provisional_for"], condition=~Q(provisional_for=""), name="patient_provisional"
            ),
            models.CheckConstraint(
                condition=Q(merged_into=None) | ~Q(merged_into=F("id")), name="patient_merged_into_another"
            ),
        ]
        indexes = [
            models.Index(F("site"), F("patient_id"), F("id"), name="patient_by_id"),
            models.Index(F("site"), F("patient_name_sort"), F("id"), name="patient_by_name"),
            models.Index(F("patient_name_sort"), F("id"), name="patient_by_name_everywhere"),
            GinIndex(NameTrigrams("patient_name_search"), name="patient_by_part_of_name"),
            GinIndex(NameFivegrams("patient_name_search"), name="patient_by_long_part_of_name"),
            models.Index(F("site"), F("patient_birth_date"), name="patient_by_birth_date"),
            models.Index(F("site"), F("id"), condition=~Q(provisional_for=""), name="patient_by_provisional"),
            models.Index(F("merged_into"), condition=~Q(merged_into=None), name="patient_by_survivor"),
            models.Index(F("site"), F("id"), condition=Q(is_temporary=True), name="patient_by_temporary"),
        ]

    def __str__(self) -> str:
        return f"{self.display_name} · {self.patient_id or '—'}"

    @property
    def display_name(self) -> str:
        """The name as people write it."""
        return PersonName(self.patient_name).display or str(_("(no name)"))

    @property
    def is_provisional(self) -> bool:
        return bool(self.provisional_for)


class PatientNameWord(models.Model):
    """One word of a patient's name, folded, so that any word can be found by its beginning."""

    patient_ref = models.ForeignKey(Patient, models.CASCADE, related_name="name_words", db_index=False)
    word = KeyField(max_length=64, blank=False)
    sound = KeyField(max_length=64, help_text=_("How the word sounds (radiology.phonetics)."))

    class Meta:
        verbose_name = _("word of a name")
        verbose_name_plural = _("words of names")
        constraints = [models.UniqueConstraint(fields=["patient_ref", "word"], name="patient_name_word")]
        indexes = [
            models.Index(fields=["word", "patient_ref"], name="name_word", opclasses=["text_pattern_ops", "int8_ops"]),
            models.Index(
                fields=["sound", "patient_ref"], name="name_sound", opclasses=["text_pattern_ops", "int8_ops"]
            ),
        ]

    def __str__(self) -> str:
        return self.word


class IdentifierKind(models.TextChoices):
    NIK = "NIK", _("NIK (national identity number)")
    BPJS = "BPJS", _("BPJS number")
    PASSPORT = "PPN", _("Passport number")
    MRN = "MR", _("Medical record number elsewhere")
    OTHER = "U", _("Other")


class PatientIdentifier(models.Model):
    """Another identifier of a patient (OtherPatientIDsSequence, PID-3 repetitions)."""

    patient_ref = models.ForeignKey(Patient, models.CASCADE, verbose_name=_("patient"), related_name="identifiers")
    kind = models.CharField(_("kind"), max_length=8, choices=IdentifierKind, default=IdentifierKind.OTHER)
    value = KeyField(_("value"), max_length=64, blank=False)
    issuer = KeyField(_("issuer"), max_length=64)

    class Meta:
        verbose_name = _("patient identifier")
        verbose_name_plural = _("patient identifiers")
        constraints = [
            models.UniqueConstraint(fields=["patient_ref", "kind", "issuer", "value"], name="patient_identifier")
        ]
        indexes = [
            models.Index(fields=["value", "kind"], name="patient_identifier_value"),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.value}"
